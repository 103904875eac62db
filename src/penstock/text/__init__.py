"""What people read about a job, and bytes of output as text (pure).

Server and command line show the same words, so they stand below both. Begin with ``job_text``.
"""
