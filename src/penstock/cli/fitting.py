"""Rows of text in columns that fit a terminal's width (pure)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .terminal import columns_of, cut_at_column, harmless

GAP: Final = "  "
# What the last column gets before others are cut for it, so that one can tell the rows apart.
_LEAST_LAST: Final = 24
_BLANKS: Final = str.maketrans({"\n": "\\n", "\t": "\\t"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column's title, and to how many columns of the terminal it may be cut; None: never."""

    title: str
    least: int | None = None


def one_line(text: str) -> str:
    """Harmless text on one line: line ends and tabs are escaped, too."""
    return harmless(text).translate(_BLANKS)


def fitted(text: str, width: int, mark: str) -> str:
    """One-line text in at most ``width`` columns of a terminal; ``mark`` stands for what is cut."""
    if columns_of(text) <= width:
        return text
    room = max(0, width - columns_of(mark))
    return cut_at_column(text, room)[0] + cut_at_column(mark, width)[0]


def padded(text: str, width: int) -> str:
    """The text with blanks behind it, up to ``width`` columns of a terminal."""
    return text + " " * (width - columns_of(text))


def rows_of(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    mark: str = "…",
) -> list[list[str]]:
    """The titles and the rows, of one-line text, padded to equal widths; GAP belongs between two
    cells. The last column is not padded. ``width``: that of the terminal, beyond which nothing
    reaches, except where it has no room for a character of each; None: nothing is cut."""
    whole = [[column.title for column in columns], *rows]
    natural = [max(columns_of(row[n]) for row in whole) for n in range(len(columns))]
    widths = natural if width is None else _widths(columns, natural, width)
    found = []
    for row in whole:
        *cells, last = (
            fitted(text, at_most, mark) for text, at_most in zip(row, widths, strict=True)
        )
        found.append([*map(padded, cells, widths), last])
    return found


def _widths(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int]:
    """The last column has what the others leave. Where that is too little, they are cut from the
    right, first to the least that each needs, then to what the terminal has."""
    widths = list(natural)
    first = range(len(widths) - 1)
    room = width - len(GAP) * len(first)
    wanted = min(widths[-1], _LEAST_LAST)
    leasts = [each.least or length for each, length in zip(columns, natural, strict=True)]
    for least in (leasts, [1] * len(widths)):
        for n in reversed(first):
            over = sum(widths[:-1]) + wanted - room
            widths[n] -= max(0, min(over, widths[n] - least[n]))
        wanted = 1
    widths[-1] = max(1, min(widths[-1], room - sum(widths[:-1])))
    return widths
