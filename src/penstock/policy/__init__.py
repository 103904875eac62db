"""What may run, as the operator's two files say it: the policy and the configuration (pure).

Here text becomes checked values, and questions about them are answered: does a command take these
arguments, would it give a shell, what does a class of limits promise. Nothing here touches a disk,
a clock or a user database: the supervisor looks those things up, in ``supervisor/files`` and
``supervisor/users``. Supervisor and server both import it, so it imports the standard library and
itself alone. Begin with ``policy_file`` (the policy), ``configuration`` and ``grammar``.
"""
