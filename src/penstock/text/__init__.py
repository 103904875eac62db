"""What people read about a job, and bytes of output as text (pure).

Below server and command line, because both show the same words. Imports ``proto`` alone.
Begin with ``job_text``.
"""
