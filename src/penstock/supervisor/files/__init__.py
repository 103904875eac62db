"""Which file a name means, and which users could put another one in its place.

Granted programs by identity, arguments that are paths, directories that others may write. Imports
``users``, ``logs``, ``kernel`` and ``policy``. Begin with ``executables``.
"""
