"""The interactive shell: ``penstock`` without a verb on a terminal.

``interactive`` puts it together. ``line_words`` splits what is typed, ``line_editor`` reads it (or
``plain_prompt``, where the terminal is a dumb one), ``line_runner`` runs it, ``above_prompt``
shows what comes meanwhile, ``shared_connection`` keeps the one connection, and ``live_view`` knows
what the bottom bar shows. Loaded by ``root`` when the shell is called and by nothing else, because
prompt_toolkit and asyncio take longer to import than a verb takes to run. Begin with
``interactive``.
"""
