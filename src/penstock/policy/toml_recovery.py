"""What else is wrong with a file whose form is: mistakes beyond the first one of syntax (pure).

tomllib ends at the first line that is no TOML, so an operator would learn of everything else one
mistake at a time. Here lines that cannot be read are left out, one after another, until the rest
can, and the rest is looked at. What is found in it counts only where no lost line can be its cause:
not in a table that has lost a line, and nowhere if the head of a table was lost.
"""

import bisect
import re
import tomllib
from typing import Final

from .toml_positions import KeyLines
from .toml_tables import syntax_mistake

# The file is read again for each line that is left out, so both bound the time: some 2 s.
_MOST_LEFT_OUT: Final = 40
_MOST_BYTES: Final = 1 << 17
_HEAD: Final = re.compile(rb"\s*\[")


class TomlRest:
    """What is left of a file that is no TOML.

    ``further``: mistakes of syntax after the first, in the order of the file. ``data``: the rest,
    each line where it was; None if there is none that could be looked at.
    """

    def __init__(self, data: bytes) -> None:
        self.further: list[str] = []
        self.data: bytes | None = None
        self._heads: list[int] = []
        self._tables: set[int] = set()
        lost = self._leave_out(data) if len(data) <= _MOST_BYTES else None
        if lost is None or self.data is None:
            self.further, self.data = [], None
            return
        self._heads = KeyLines(self.data).heads
        self._tables = {self._table_of(line) for line in lost}
        if any(_HEAD.match(data.split(b"\n")[line - 1]) for line in lost):
            self.data = None

    @property
    def top_lost(self) -> bool:
        """Is a line gone that stands in no table?"""
        return 0 in self._tables

    def counts(self, line: int | None) -> bool:
        """Is a mistake on this line of the rest one of the file?"""
        return line is not None and self._table_of(line) not in self._tables

    def _leave_out(self, data: bytes) -> list[int] | None:
        """Finds the rest. Returns the lines that are not in it; None if that cannot be."""
        lines = data.split(b"\n")
        lost: list[int] = []
        while len(lost) <= _MOST_LEFT_OUT:
            rest = b"\n".join(lines)
            try:
                tomllib.loads(rest.decode("utf-8"))
            except (UnicodeDecodeError, RecursionError):
                return None
            except ValueError as error:
                line = KeyLines(rest).of_syntax(str(error)) or 0
                if not 0 < line <= len(lines) or not lines[line - 1].strip():
                    return None
                # What follows right behind a lost line is often its own continuation.
                if lost and any(each.strip() for each in lines[lost[-1] : line - 1]):
                    self.further.append(syntax_mistake(error))
                lines[line - 1] = b""
                lost.append(line)
            else:
                self.data = rest
                return lost
        return None

    def _table_of(self, line: int) -> int:
        """The line of the head above; 0: there is none."""
        place = bisect.bisect_right(self._heads, line)
        return self._heads[place - 1] if place else 0
