"""The socket to the server: its directory, who may be the server, every message and its form.

``protocol`` and ``message_forms`` are pure, and the server's end (``jobs/backends``) imports them
too. Imports ``isolation`` and ``cgroups`` for what the first message tells, and what is below.
"""
