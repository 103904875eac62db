"""``python -m penstock.agent``: see ``agent_main``."""

from . import main

main()
