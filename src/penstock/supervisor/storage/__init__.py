"""What jobs take of the disk: their directories, counted or held to a bound, and removed.

Imports ``cgroups``, ``isolation``, ``users``, ``logs``, ``kernel`` and ``policy``. Begin with
``workdirs``; ``storage_watch`` is a process of its own.
"""
