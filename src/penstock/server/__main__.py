"""``python -m penstock.server``: the server process, as the supervisor starts it."""

import gc
import sys

# What is imported stays, so that to look for garbage meanwhile takes a seventh of the time and
# finds none. Frozen, it is not looked through once more as the interpreter ends.
gc.disable()

from .main import main  # noqa: E402  # see above

gc.freeze()
gc.enable()
sys.exit(main())
