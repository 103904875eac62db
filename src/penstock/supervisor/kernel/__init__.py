"""What this process asks of the kernel by itself: system calls, processes, one event loop.

Lowest room of the supervisor: it imports the standard library alone. Begin with ``loop``.
"""
