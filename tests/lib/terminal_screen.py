"""What a terminal shows for what is written to it: lines that scrolled away, and the screen.

As far as prompt_toolkit and the command line go: text, line feeds, cursor movements, erasing.
"""

import re

_SEQUENCE = re.compile(r"\x1b(?:\[([?0-9;]*)([A-Za-z])|\]|[=>()][0-9A-Z]?|.)", re.DOTALL)


class TerminalScreen:
    """``lines`` are all of them, those that scrolled away first."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self.row = self.column = 0
        self._cells: list[list[str]] = [[]]
        self._wraps = True

    @property
    def lines(self) -> list[str]:
        return ["".join(cells).rstrip() for cells in self._cells]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def cursor_line(self) -> str:
        """The line in which the cursor stands."""
        return self.lines[self.row]

    @property
    def below(self) -> list[str]:
        """The lines below the cursor."""
        return self.lines[self.row + 1 :]

    def feed(self, text: str) -> None:
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                match = _SEQUENCE.match(text, at)
                if match is None:
                    return  # the rest of it comes later, or never
                if match[2]:
                    self._obey(match[1], match[2])
                at = match.end()
            else:
                self._put(text[at])
                at += 1

    def _put(self, character: str) -> None:
        match character:
            case "\r":
                self.column = 0
            case "\n":
                self._go_to(self.row + 1)
            case "\b":
                self.column = max(0, self.column - 1)
            case "\x07":
                pass
            case _:
                if self.column >= self.columns:
                    if self._wraps:
                        self._go_to(self.row + 1)
                        self.column = 0
                    else:
                        self.column = self.columns - 1
                self._pad()
                self._cells[self.row][self.column : self.column + 1] = [character]
                self.column += 1

    def _go_to(self, row: int) -> None:
        self.row = max(row, self._top)
        while len(self._cells) <= self.row:
            self._cells.append([])

    @property
    def _top(self) -> int:
        return max(0, len(self._cells) - self.rows)

    def _pad(self) -> None:
        cells = self._cells[self.row]
        cells += [" "] * (self.column - len(cells))

    def _obey(self, arguments: str, command: str) -> None:
        if arguments.startswith("?"):
            if arguments == "?7":
                self._wraps = command == "h"
            return
        numbers = [int(part) if part else 0 for part in arguments.split(";")]
        count = max(1, numbers[0])
        match command:
            case "A":
                self._go_to(self.row - count)
            case "B":
                self._go_to(min(self.row + count, self._top + self.rows - 1))
            case "C":
                self.column = min(self.columns - 1, self.column + count)
            case "D":
                self.column = max(0, min(self.column, self.columns - 1) - count)
            case "G":
                self.column = count - 1
            case "H":
                self._go_to(self._top + count - 1)
                self.column = (numbers[1] if len(numbers) > 1 and numbers[1] else 1) - 1
            case "J":
                if numbers[0] == 2:
                    for cells in self._cells[self._top :]:
                        cells.clear()
                else:
                    del self._cells[self.row][self.column :]
                    del self._cells[self.row + 1 :]
            case "K":
                if numbers[0] == 2:
                    self._cells[self.row].clear()
                else:
                    del self._cells[self.row][self.column :]
            case "m":
                pass
            case _:
                raise AssertionError(f"a sequence that this screen does not know: {command!r}")
