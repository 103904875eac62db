"""The socket to the server: its directory, which process may be the server, each message's form.

The messages (``from_server``, ``from_supervisor``, ``started``) and ``protocol`` are pure, and the
server's end (``jobs/backends``) imports them too. Begin with ``started``. Imports ``isolation`` and
``cgroups`` for what the first message reports, and what is below.
"""
