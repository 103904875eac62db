"""The lines that were typed, of this shell and of those before: what Up, Down and ^R go through."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio
from prompt_toolkit.history import History

from .history_file import MOST_LINES, append_lines, kept_lines
from .line_words import LineRead, read_lines

BOUND_S: Final = 1.0
"""So long the shell waits for its file, whose disk, or whose lock, may stand still."""
_LONGEST_LINE: Final = 8192


class LineHistory(History):
    """``path`` None: the lines of this shell alone. ``keeps``: whether a line may be kept at
    all. Never fails: without its file the shell has no older lines."""

    def __init__(self, path: Path | None, keeps: Callable[[LineRead], bool]) -> None:
        super().__init__()
        self._path = path
        self._keeps = keeps
        self._older: list[str] = []
        self._unwritten: list[str] = []
        self._writing = False

    async def read(self) -> None:
        """Takes the file's lines. Call it once, before the first prompt.

        No checkpoint without a file.

        Cancellation: minimum cleanup.
        """
        if self._path is None:
            return
        # Scope K0.history_read.
        with trio.move_on_after(BOUND_S):
            self._older = await trio.to_thread.run_sync(
                _read, self._path, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )

    def load_history_strings(self) -> Iterable[str]:
        """The kept lines, the newest first."""
        return reversed(self._older)

    def append_string(self, string: str) -> None:
        """Keeps each command of what was typed, but what is too long."""
        for read in read_lines(string):
            if len(read.typed) <= _LONGEST_LINE and self._keeps(read):
                super().append_string(read.typed)

    def store_string(self, string: str) -> None:
        """Notes it for ``write``, if it is one line in the file, too."""
        if len(string.splitlines()) == 1:
            self._unwritten.append(string)

    async def write(self) -> None:
        """Appends to the file what has been typed. What a stuck disk or lock keeps from it, a later
        call appends.

        No checkpoint where there is nothing to write.

        Cancellation: minimum cleanup.
        """
        if self._path is None or self._writing or not self._unwritten:
            return
        lines, self._unwritten = self._unwritten[-MOST_LINES:], []
        self._writing = True
        # Scope K0.history_write.
        with trio.move_on_after(BOUND_S):
            await trio.to_thread.run_sync(
                self._write, lines, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )

    def _write(self, lines: list[str]) -> None:
        assert self._path is not None, "write has looked"
        try:
            with suppress(OSError):
                append_lines(self._path, lines)
        finally:
            self._writing = False


def _read(path: Path) -> list[str]:
    with suppress(OSError):
        return kept_lines(path)
    return []
