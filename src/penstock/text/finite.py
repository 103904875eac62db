"""Figures that come from a server, as something to reckon with (pure).

A server that is wrong or hostile sends what no sound one does: infinity, no number, a number below
zero. What shows figures takes each of them, because a reader is to see a line and no traceback.
"""

import math

UNKNOWN = "?"
"""What is shown instead of a figure that is no number."""


def finite(value: float) -> float | None:
    """The value as a float; None if it is infinite, no number, or an integer beyond floats."""
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
