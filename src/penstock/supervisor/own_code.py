"""The directories of the code that this process runs: this package, and ``policy`` beside it."""

import os
from typing import Final

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DIRECTORIES: Final = tuple(os.path.join(_PACKAGE, name) for name in ("supervisor", "policy"))
