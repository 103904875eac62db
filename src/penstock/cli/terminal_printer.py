"""A job's output as lines of a terminal: harmless, and a progress bar stays in its line.

A program that shows progress goes back to the beginning of its line (a carriage return) and
writes over it. Forwarded unchanged, that would also write over the time that we put in front of
a line, and over a message of ours that came in between; as an escape it makes one line that
grows for ever. So we go back ourselves instead: we wipe the line with blanks and draw it anew,
the time in front. What a line showed before is as gone as on a terminal of its own; nothing
above the line can be reached, because nothing else of what moves a cursor passes.

A bar is often as wide as the terminal, and the time in front would push it over the edge, from
where a carriage return leads to the second row only: each drawing would leave a row behind. So
what is drawn anew ends before the edge, and the rest of it is shown once its line has ended.
"""

from collections.abc import Callable
from typing import Final

from ..text.stream_decoder import REPLACEMENT, TextDecoder
from .descriptors import Place
from .printing import timestamp
from .terminal import columns_of, cut_at_column, harmless

# A longer one is no bar, but text that happens to follow a carriage return, so we do not hold it.
_LONGEST_BAR: Final = 4096


class TerminalPrinter:
    """Text of chunks, in order, for one terminal, whichever streams of the job go there.

    The line has four states: not begun; begun, with its end in column ``_column``; begun, with
    a carriage return after it that waits for what comes (a line feed makes both one line end);
    and broken: a message of ours has ended it, but further text still belongs to it.
    ``_redrawn``: it was drawn over, and ``_beyond`` is what of it is not drawn for that reason.
    """

    def __init__(self, *, timestamps: bool, place: Place, columns: Callable[[], int]) -> None:
        """``columns`` gives the terminal's width now."""
        self._timestamps = timestamps
        self._place = place
        self._columns = columns
        self._decoder = TextDecoder[int]()
        self._begun = False
        self._column = 0
        self._redrawn = False
        self._beyond = ""
        self._returned_by: int | None = None
        self._broken = False
        self._breaks = place.line_breaks

    def feed(self, stream: int, time_ns: int, data: bytes) -> str:
        """The text to print for the next chunk of a stream's raw bytes, written at ``time_ns``."""
        return self._print(stream, time_ns, self._decoder.feed(stream, data))

    def held_bytes(self, stream: int) -> int:
        """How many of the stream's bytes fed so far are in no returned text yet, at most."""
        # An upper bound, because the streams of text beyond the edge are not kept, and escapes are
        # longer than what they stand for.
        beyond = len(self._beyond.encode())
        return self._decoder.held_bytes(stream) + (self._returned_by == stream) + beyond

    def flush(self, time_ns: int) -> str:
        """The text of characters that were cut at the end, and of a line beyond the edge."""
        cut = self._decoder.break_off()
        printed = [self._print(stream, time_ns, REPLACEMENT) for stream in cut]
        self._look_for_break()
        self._draw_beyond(printed, time_ns)
        return "".join(printed)

    def _print(self, stream: int, time_ns: int, text: str) -> str:
        self._look_for_break()
        printed: list[str] = []
        *complete, rest = text.split("\n")
        for line in complete:
            self._draw(printed, time_ns, line.rstrip("\r"), ends=True)
            self._end_line(printed, time_ns)
        if rest:
            drawn = rest.rstrip("\r")
            self._draw(printed, time_ns, drawn, ends=False)
            # Only now, because it belongs to what was drawn.
            if drawn != rest:
                self._returned_by = stream
        return "".join(printed)

    def _look_for_break(self) -> None:
        """Notes whether a message of ours has ended the line meanwhile."""
        if self._breaks != self._place.line_breaks:
            self._breaks = self._place.line_breaks
            self._broken = self._begun
            self._column = 0

    def _draw(self, printed: list[str], time_ns: int, line: str, *, ends: bool) -> None:
        """Draws ``line``, which has no line feed, nor a carriage return at its end. ``ends``: it is
        the last drawing of its line, so it may be longer than the terminal is wide."""
        _, returns, shown = line.rpartition("\r")
        if not shown:
            return
        anew = bool(returns) or self._returned_by is not None
        self._returned_by = None
        if anew:
            self._redrawn = True
            self._beyond = ""
            if self._column:
                # Not beyond the terminal's edge, because the cursor would move to the next row.
                blanks = " " * min(self._column, self._columns() - 1)
                printed.append(f"\r{blanks}\r")
        if anew or not self._begun:
            front = self._front(time_ns)
        else:
            # So that the rest after a message of ours is not taken for another line.
            front = " " * len(self._front(time_ns)) if self._broken else ""
        if anew or front:
            self._column = 0
        text = front + self._beyond + harmless(shown)
        self._beyond = ""
        if self._redrawn and not ends and len(text) <= _LONGEST_BAR:
            text, self._beyond = cut_at_column(text, self._columns() - 1, self._column)
        else:
            self._redrawn = False
        self._column = columns_of(text, self._column)
        self._begun, self._broken = True, False
        printed.append(text)

    def _draw_beyond(self, printed: list[str], time_ns: int) -> None:
        """Draws the rest of a line that was cut at the edge, now that it is not drawn anew."""
        if self._beyond:
            printed.append(" " * len(self._front(time_ns)) if self._broken else "")
            printed.append(self._beyond)
            self._column = columns_of("".join(printed[-2:]), self._column)
            self._beyond, self._broken = "", False

    def _end_line(self, printed: list[str], time_ns: int) -> None:
        if not self._begun:
            printed.append(self._front(time_ns))
        self._draw_beyond(printed, time_ns)
        if not self._broken:
            printed.append("\n")
        self._begun = self._broken = self._redrawn = False
        self._returned_by = None
        self._column = 0

    def _front(self, time_ns: int) -> str:
        return f"{timestamp(time_ns)} " if self._timestamps else ""
