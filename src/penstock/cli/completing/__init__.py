"""Completion: what may stand where the cursor is, for bash, zsh and fish.

A shell's script (``penstock.bash`` and its siblings) calls ``penstock __complete`` with the words
in front of the cursor and inserts what that prints. ``shell_syntax`` reads and quotes words as the
shell does, ``places`` finds out what may stand there, ``candidates`` lists it, ``live`` asks the
server for jobs, and ``completion_cache`` keeps its answers for some seconds. Only ``live`` imports
Trio, so that a key press that needs no server costs as little as Python itself. Begin with
``entry``.
"""
