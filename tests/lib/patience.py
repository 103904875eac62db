"""How much longer than on an ordinary machine a test waits before it says that something hangs.

No test passes sooner or later for it: it only bounds what never comes. tools/vm sets it, as an
emulated machine takes ten times as long for everything.
"""

import os

_FACTOR = float(os.environ.get("PENSTOCK_TEST_PATIENCE", "1"))


def patient(seconds: float) -> float:
    """A bound in seconds, on this machine."""
    return seconds * _FACTOR
