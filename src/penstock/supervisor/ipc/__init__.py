"""The socket to the server: its directory, who may be the server, every message and its form.

The messages (``from_server``, ``from_supervisor``, ``started``) and ``protocol`` are pure, and the
server's end (``jobs/backends``) imports them too. Begin with ``started``. Imports ``isolation`` and
``cgroups`` for what the first message tells, and what is below.
"""
