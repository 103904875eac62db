"""The supervisor: the privileged, single-threaded parent of the server and of every job.

It runs as a directory (``python -I -S -E <this directory>``) on the standard library, itself and
``policy`` beside it, so that nothing an unprivileged user can install is ever imported by root
(``__main__``).

Its rooms, each importing only those before it: ``kernel`` (system calls, processes, the event
loop), ``logs``, ``users``, ``files`` (which users can change a file), ``cgroups``, ``isolation``,
``storage``, ``ipc`` (the socket to the server), ``job`` (one job). What stands at the top puts them
together. Begin with ``daemon`` (its life) and ``dispatch`` (what the server may ask for).
"""
