"""As which user a job runs: users by name, one for each client, and what is wrong with them.

Imports ``kernel``, ``logs`` and ``policy``. Begin with ``client_users``.
"""
