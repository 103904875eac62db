"""Numbers as bars."""

import pytest

from penstock.text.plots import plot


@pytest.mark.parametrize(
    ("values", "width", "full", "shown"),
    [
        ([], 3, 0, "   "),
        ([0, 0], 3, 0, " ▁▁"),
        ([1, 2, 4, 8], 4, 0, "▂▃▅█"),
        ([1, 2, 4, 8], 2, 0, "▅█"),
        ([10, 50, 100], 3, 100, "▁▅█"),
        ([1, 2], 2, 100, "▁▁"),
        ([200, 100], 2, 100, "█▅"),
        ([None, 1, None], 3, 0, " █ "),
        ([1], 0, 0, ""),
    ],
)
def test_the_newest_are_shown(
    values: list[float | None], width: int, full: float, shown: str
) -> None:
    """At the right, against the greatest of them or what is full."""
    assert plot(values, width, full=full) == shown
