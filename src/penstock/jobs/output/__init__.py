"""A job's output on disk, from which every reader is served (docs/output.md).

Begin with ``output_log``: it is a ``segment_chain``, filled by the reader tasks of ``capture``
(they read the job's pipes), read by a ``reader`` at its ``cursor``, which the ``broadcaster`` wakes
(it reads the log, for a client).
Imports nothing of jobs but their errors, reporting and the seam's types.
"""
