"""The job library: Trio and the standard library only, no gRPC, TLS or client certificates.

``manager`` starts and ends the jobs of one state directory, ``job`` is one of them as others see
it, ``lifecycle`` the code of its task and ``job_tasks`` what surrounds that, ``store`` what
survives. Output is in ``output``, where jobs run in ``backends``. Imports ``concurrency``,
``policy``, and what the supervisor shares: its messages and counters, which are pure, and
``logs.log_lines``, which is not. Begin with ``job``, then ``lifecycle``.
"""
