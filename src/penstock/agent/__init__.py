"""The agent: a process of the user's that keeps connections, and runs short verbs for front ends.

``penstock``, without an ending, is the front end: the command that is installed, in sh and bare
Python. Everything else here is the agent. It runs each command line by ``cli.root.invoke``, as the
full program would. Imports ``cli``, ``client``, ``rpc`` and ``concurrency``. Begin with
``agent_main`` and ``attending``.
"""

import sys


def main() -> None:
    """``python -m penstock.agent WORD ...``, for ``penstock agent`` and for front ends."""
    from .agent_main import run  # only here, because to import a part of us needs less

    sys.exit(run(sys.argv[1:]))
