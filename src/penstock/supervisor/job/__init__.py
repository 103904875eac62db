"""One job of the supervisor's: checked, started, held until it is released.

Highest room of the supervisor: it imports any other, and ``policy``. Begin with ``supervised_job``;
``spawn`` is the way from fork to exec, ``start_check`` decides what becomes of a START.

The records of a start, each made from the one before it:

1. ``JobSpec`` (ipc/job_spec.py): what a caller asks for. ``Start`` (ipc/from_server.py) is the
   message that brings it, with the client's id.
2. ``GrantedStart`` (policy/decision.py): the rules by which the policy grants it. Server and
   supervisor each ask; instead of it they may get a ``Denial``.
3. ``CheckedStart`` (start_check.py): with what this host has for it, its user, program and paths.
   Instead of it: a ``Refusal``. Its part that counts until the job has ended is ``EffectiveStart``
   (effective_start.py); the rest is needed until it runs.
4. ``Started`` (ipc/started.py): what it became, main process included. ``StartedMessage`` brings it
   to the server, or HELD to a later one.
5. ``StartedJob`` (jobs/backends/base.py): with the pipes, for the job's task. A refusal arrives
   there as ``StartRefused``.
"""
