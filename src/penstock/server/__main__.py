"""``python -m penstock.server``: the server process, as the supervisor starts it."""

import sys

from .main import main

sys.exit(main())
