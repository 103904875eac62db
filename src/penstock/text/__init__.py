"""What people read about a job, and bytes of output as text (pure).

Below server and command line, because both show the same words. Begin with ``job_text``.
"""
