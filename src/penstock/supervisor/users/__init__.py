"""Whom jobs run as: users by name, one of its own for each client, and what is wrong with them.

Imports ``kernel``, ``logs`` and ``policy``. Begin with ``client_users``.
"""
