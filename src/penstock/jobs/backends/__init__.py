"""Where jobs run: the seam (``base``), and this machine behind it (``local``).

A cluster's launcher could stand here without a change above. Imports ``supervisor/ipc`` for the
protocol, and of the library its errors and reporting. Begin with ``base``. How the records of a
start follow on each other is in supervisor/job/__init__.py.
"""
