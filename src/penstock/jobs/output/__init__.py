"""A job's output on disk: the one truth that every reader reads (docs/output.md).

Begin with ``output_log``: it is made of ``segment``s, read by ``cursor``s, filled by ``capture``.
Imports nothing of jobs but their errors, reporting and the seam's types.
"""
