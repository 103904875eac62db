"""The server: identifies the caller, decides, and acts; one process without privilege.

Files are in the order in which they may import each other in tests/test_architecture.py: pure
decisions (``authn``, ``parse``, budgets and rates), then ``audit``, ``admission`` and ``access``,
then the handlers (``service*``), what ends a server (``endings``), and ``main``. Imports ``jobs``,
``rpc``, ``pki``, ``text``, ``proto``, ``concurrency``, ``policy``, and the modules that the
supervisor shares. Begin with ``service``.
"""
