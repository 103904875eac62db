"""Numbers as a row of small bars (pure)."""

from collections.abc import Sequence
from typing import Final

from .finite import finite

_BARS: Final = "▁▂▃▄▅▆▇█"


def plot(values: Sequence[float | None], width: int, *, full: float = 0.0) -> str:
    """The last ``width`` values, oldest first, a bar each; a blank for one that was not measured,
    or is no number, and in front of the first. The tallest bar is the greatest value, or ``full``
    if that is more, so that next to nothing does not look like much."""
    shown = [
        None if value is None else finite(value) for value in (values[-width:] if width > 0 else ())
    ]
    most = max([full, *(value for value in shown if value is not None)])
    bars = [_bar(value, most) for value in shown]
    return "".join(bars).rjust(width)


def _bar(value: float | None, most: float) -> str:
    if value is None:
        return " "
    if most <= 0 or value <= 0:
        return _BARS[0]
    return _BARS[min(len(_BARS) - 1, int(value / most * len(_BARS)))]
