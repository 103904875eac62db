"""``python -m penstock.cli``: the same as the command ``penstock``."""

from . import main

main()
