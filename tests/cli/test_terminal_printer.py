"""A job's output on a terminal: progress bars in one line, and nothing of ours written over."""

import itertools
import re

from hypothesis import example, given
from hypothesis import strategies as st

from penstock.cli.descriptors import Place
from penstock.cli.printing import timestamp
from penstock.cli.terminal import columns_of, cut_at_column
from penstock.cli.terminal_printer import TerminalPrinter

COLUMNS = 40
STAMP = f"{timestamp(1)} "


class Screen:
    """What a terminal shows: printable characters, line feeds and carriage returns alone."""

    def __init__(self, columns: int = 1000) -> None:
        self.rows = [""]
        self._column = 0
        self._columns = columns

    def write(self, text: str) -> None:
        for character in text:
            if character == "\n":
                self.rows.append("")
                self._column = 0
            elif character == "\r":
                self._column = 0
            else:
                assert character.isprintable(), repr(character)
                if self._column == self._columns:  # only now, as terminals do
                    self.rows.append("")
                    self._column = 0
                row = self.rows[-1].ljust(self._column)
                self.rows[-1] = row[: self._column] + character + row[self._column + 1 :]
                self._column += 1

    @property
    def shown(self) -> list[str]:
        """Without blanks at the ends of rows, and without the row of the cursor if it is empty."""
        rows = [row.rstrip() for row in self.rows]
        return rows if rows[-1] else rows[:-1]


class World:
    """A printer, its terminal, and messages of ours on it."""

    def __init__(self, *, timestamps: bool = False, columns: int = 1000) -> None:
        self.screen, self.place = Screen(columns), Place()
        self.printer = TerminalPrinter(
            timestamps=timestamps, place=self.place, columns=lambda: columns
        )
        self.written = ""

    def job(self, data: bytes, stream: int = 1) -> None:
        self._write(self.printer.feed(stream, 1, data))

    def message(self, text: str) -> None:
        self._write(f"{self.place.end_line()}{text}\n")

    def flush(self) -> None:
        self._write(self.printer.flush(1))

    def _write(self, text: str) -> None:
        self.written += text
        self.screen.write(text)
        self.place.wrote(text.encode())


def test_a_progress_bar_is_one_line() -> None:
    """Whichever end of its texts the carriage return is on; the line shows the last of them."""
    for first, last in (("", "\r"), ("\r", "")):
        world = World(timestamps=True)
        for percent in (5, 100, 7):
            world.job(f"{first}{percent}%{last}".encode())
            assert world.screen.shown == [f"{STAMP}{percent}%"]
        world.job(b"\ndone\r\n")
        assert world.screen.shown == [f"{STAMP}7%", f"{STAMP}done"]
        assert "\\x" not in world.written


def test_two_streams_share_the_line() -> None:
    """A line of the other stream writes over a bar that has gone back to its beginning."""
    world = World()
    world.job(b"50%\r", stream=2)
    world.job(b"a file\n", stream=1)
    world.job(b"60%\r", stream=2)
    assert world.screen.shown == ["a file", "60%"]


def test_a_message_of_ours_stands_alone_and_what_goes_on_is_told_apart() -> None:
    """Nothing that the job prints afterwards stands where a time or a message of ours would."""
    world = World(timestamps=True)
    world.job(b"half")
    world.message("Connection lost")
    world.job(b"2026-11-23T11:21:38.123Z forged\n")
    world.job(b"50%\r")
    world.message("[4 bytes are missing]")
    world.job(b"60%")
    blank = " " * len(STAMP)
    assert world.screen.shown == [
        f"{STAMP}half",
        "Connection lost",
        f"{blank}2026-11-23T11:21:38.123Z forged",
        f"{STAMP}50%",
        "[4 bytes are missing]",
        f"{STAMP}60%",
    ]
    world.message("The job exited with code 0.")
    assert world.screen.shown[-1] == "The job exited with code 0."


def test_the_end_of_a_line_that_a_message_has_ended_is_not_shown_again() -> None:
    """No empty line in between."""
    world = World()
    world.job(b"half")
    world.message("Connection lost")
    world.job(b"\nnext\n")
    assert world.screen.shown == ["half", "Connection lost", "next"]


def test_wiping_stays_within_the_terminal() -> None:
    """Beyond its edge blanks would begin another line, one more for each step of a bar."""
    world = World(columns=10)
    world.job(b"x" * 25 + b"\r")
    before = len(world.written)
    world.job(b"y\r")
    assert world.written[before:] == f"\r{' ' * 9}\ry"


def test_a_bar_as_wide_as_the_terminal_leaves_no_row_behind() -> None:
    """With the time in front it is wider; its end is shown when nothing is drawn over it."""
    for first, last in (("", "\r"), ("\r", "")):
        world = World(timestamps=True, columns=COLUMNS)
        bar = "=" * (COLUMNS - 5)
        for step in range(9):
            world.job(f"{first}{bar}{step}{last}".encode())
        # A bar that ends with its return is first drawn before anything says that it is one.
        before = 1 if last else 0
        assert len(world.screen.shown) == 1 + before
        assert world.screen.shown[-1] == f"{STAMP}{bar}"[: COLUMNS - 1]
        world.job(b"\nnext\n")
        whole = f"{STAMP}{bar}8"
        assert world.screen.shown[before:] == [whole[:COLUMNS], whole[COLUMNS:], f"{STAMP}next"]


def test_the_end_of_a_wide_bar_is_shown_though_its_line_never_ends() -> None:
    """At the end of the output, and behind a message of ours."""
    world = World(columns=10)
    world.job(b"\rabcdefgh")
    world.job(b"ijk")
    world.job(b"lmn")
    assert world.screen.shown == ["abcdefghi"]
    world.flush()
    world.flush()
    assert world.screen.shown == ["abcdefghij", "klmn"]
    assert world.printer.held_bytes(1) == 0
    world.job(b"\r0123456789")
    assert world.printer.held_bytes(1) == 1
    world.message("lost")
    world.job(b"\n")
    assert world.screen.shown == ["abcdefghij", "012345678", "lost", "9"]


def test_text_behind_a_carriage_return_is_not_kept_back_for_ever() -> None:
    """A job may print a gigabyte without a line end."""
    world = World(columns=COLUMNS)
    world.job(b"\r")
    for _ in range(9):
        world.job(b"x" * 999)
    assert world.written.count("x") == 8991
    world.job(b"\rbar" + b"=" * COLUMNS)
    assert world.screen.shown[-1] == "bar" + "=" * (COLUMNS - 4)


def test_the_line_is_as_wide_as_it_looks() -> None:
    """Wide characters are two columns, combining ones none, tabs go to the next eighth."""
    assert columns_of("漢字") == 4
    assert columns_of("e\u0301") == 1
    assert columns_of("a\tb", 1) == 9
    assert cut_at_column("漢字", 3) == ("漢", "字")
    assert cut_at_column("e\u0301x", 1) == ("e\u0301", "x")
    assert cut_at_column("ab\tc", 8) == ("ab\t", "c")
    world = World(columns=80)
    world.job("漢字\r".encode())
    world.job(b"x")
    assert world.written == "漢字\r    \rx"


def test_what_is_held_back_is_counted() -> None:
    """So that the offset to go on from is never past what is shown."""
    world = World()
    world.job(b"a\r")
    assert world.printer.held_bytes(1) == 1
    world.job(b"!", stream=2)
    assert (world.printer.held_bytes(1), world.printer.held_bytes(2)) == (0, 0)
    world.job(b"\xe2\x82")
    assert world.printer.held_bytes(1) == 2
    world.flush()
    assert world.printer.held_bytes(1) == 0
    assert world.written.endswith("\N{REPLACEMENT CHARACTER}")


@given(
    text=st.text(alphabet="ab\r\n\x1b\u202e", max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=6),
)
@example("abc\r\r\nx", [4])
@example("a\r\n\rb", [2, 3])
def test_each_line_shows_its_last_text_however_it_is_cut(text: str, cuts: list[int]) -> None:
    """What stands on the screen depends on the bytes alone, and is harmless."""
    data = text.encode()
    points = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    world = World(timestamps=True)
    for begin, end in itertools.pairwise(points):
        world.job(data[begin:end])
    world.flush()
    *complete, rest = text.split("\n")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in complete]
    lines += [last] if (last := rest.rstrip("\r").rpartition("\r")[2]) else []
    lines = [line.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e") for line in lines]
    assert world.screen.shown == [f"{STAMP}{line}".rstrip() for line in lines]
    # The cursor goes back only to wipe the line.
    assert not re.sub(r"\r *\r", "", world.written).count("\r")
