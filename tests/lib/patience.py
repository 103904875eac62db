"""How long a test waits, on this machine and at this moment.

Two different things. ``patient`` bounds what never comes: no test passes sooner or later for it, so
it is generous. ``slowness`` says how much slower this machine is right now than an ordinary one
that does nothing else; what a test says of the product's own speed is multiplied by it.
"""

import os
import time
from collections.abc import Callable
from typing import Final

# tools/vm sets it, as an emulated machine takes ten times as long for everything.
_FACTOR: Final = float(os.environ.get("PENSTOCK_TEST_PATIENCE", "1"))
# A machine that three other programs keep busy still comes to the end.
_SPARE: Final = 4.0
# What the work below takes on an idle machine on which the whole suite takes three minutes
# (python3 3.11, AMD EPYC, a virtual machine of two cores): 25 ms, a little more than seen.
_ORDINARY_S: Final = 0.025
_WORK: Final = 200_000
_TRIES: Final = 3
_REPEATED: Final = 15


def patient(seconds: float) -> float:
    """A bound in seconds for what must come, however slow the machine is."""
    return seconds * _FACTOR * _SPARE


def slowness() -> float:
    """At least 1; measured in some 70 ms of wall time, of which others on the machine take part."""
    longest = max(_time_of(lambda: sum(range(_WORK))) for _ in range(_TRIES))
    return max(1.0, longest / _ORDINARY_S) * _FACTOR


def _time_of(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    for _ in range(_REPEATED):
        work()
    return time.perf_counter() - begin
