"""Columns that fit a terminal: measured as it measures, cut where it ends."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.fitting import GAP, Column, fitted, one_line, rows_of

COLUMNS = (Column("PID"), Column("NAME", least=4), Column("COMMAND"))
CELLS = st.text(alphabet="ab 漢Ａé\u0301\n\t\x1b\u200b\U0001f600", max_size=40).map(one_line)


def width_of(text: str) -> int:
    """As a terminal measures, of text that is on one line."""
    assert not set("\n\t\r\x1b\u200b") & set(text)
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.category(each) == "Mn" for each in text)


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5), width=st.integers(7, 100))
def test_nothing_reaches_beyond_the_terminal(rows: list[tuple[str, str, str]], width: int) -> None:
    """And all columns stand below their titles."""
    lines = rows_of(COLUMNS, rows, width=width)
    assert len(lines) == 1 + len(rows)
    assert max(width_of(GAP.join(line)) for line in lines) <= width
    for place in (0, 1):
        assert len({width_of(line[place]) for line in lines}) == 1


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5))
def test_without_a_width_nothing_is_cut(rows: list[tuple[str, str, str]]) -> None:
    """As in a pipe."""
    for row, line in zip(rows, rows_of(COLUMNS, rows)[1:], strict=True):
        assert line[-1] == row[-1]
        assert [cell.rstrip(" ") for cell in line] == [cell.rstrip(" ") for cell in row]


@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5))
def test_what_fits_is_whole(rows: list[tuple[str, str, str]]) -> None:
    """A terminal that is as wide as the longest line cuts nothing."""
    whole = rows_of(COLUMNS, rows)
    widest = sum(max(width_of(line[n]) for line in whole) for n in range(3)) + 2 * len(GAP)
    assert rows_of(COLUMNS, rows, width=widest) == whole


@pytest.mark.parametrize(
    ("text", "width", "cut"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("漢字漢字", 8, "漢字漢字"),
        ("漢字漢字", 7, "漢字漢…"),
        ("漢字漢字", 6, "漢字…"),  # no half of a wide character
        ("abcdef", 1, "…"),
        ("abcdef", 0, ""),
        ("e\u0301" * 3, 3, "e\u0301" * 3),
    ],
)
def test_where_a_text_is_cut(text: str, width: int, cut: str) -> None:
    """With an ellipsis in the place of the rest."""
    assert fitted(text, width, "…") == cut


def test_a_column_that_may_be_cut_gives_room_to_the_last() -> None:
    """Down to what it needs; the handle is whole."""
    row = ("48213", "n" * 40, "c" * 60)
    (_, line) = rows_of(COLUMNS, [row], width=60)
    assert line == ["48213", "n" * 26 + "…", "c" * 23 + "…"]
    (_, line) = rows_of(COLUMNS, [row], width=30)
    assert line == ["48213", "nnn…", "c" * 16 + "…"]


def test_one_line_is_one_line() -> None:
    """Whatever is in it."""
    assert one_line("a\nb\tc\x1b[1m\u202e") == "a\\nb\\tc\\x1b[1m\\u202e"
