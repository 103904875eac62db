"""The prompt where the terminal is a dumb one: the kernel's own line, without history, completion
and the bar."""

import os
from typing import Final

import trio

from ..descriptors import OUT
from ..writing import write
from .line_editor import PROMPT, LineCleared, NoMoreLines

_READ_BYTES: Final = 64 * 1024


class PlainPrompt:
    """As a ``LineEditor``."""

    def __init__(self) -> None:
        self._asking: trio.CancelScope | None = None
        self._cleared = False
        self._unread = b""

    async def ask(self) -> str:
        """A line. Raises LineCleared and NoMoreLines.

        Cancellation: minimum cleanup; C65.
        """
        self._cleared = False
        # Scope K0.plain_prompt.
        with trio.CancelScope() as scope:
            self._asking = scope
            try:
                # In the scope, because ^C may come as soon as it is seen.
                await write(OUT, OUT.place.end_line().encode() + PROMPT.encode())
                await self._read_line()
            finally:
                self._asking = None
        if self._cleared:
            raise LineCleared
        # The terminal has echoed the line's end.
        OUT.place.line_open = False
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode(errors="replace")

    async def _read_line(self) -> None:
        """Until there is one in ``_unread``. Raises NoMoreLines."""
        while b"\n" not in self._unread:
            await trio.lowlevel.wait_readable(0)
            try:
                data = os.read(0, _READ_BYTES)
            except OSError:  # the terminal is gone
                data = b""
            if not data:
                # So that what the user's own shell shows next begins a line.
                await write(OUT, OUT.place.end_line().encode())
                raise NoMoreLines
            self._unread += data

    async def above(self, data: bytes) -> None:
        """Writes whole lines, and the prompt again. What is typed stays in the kernel's line, but
        is not shown again. Raises OutputFailed.

        Cancellation: minimum cleanup.
        """
        again = PROMPT.encode() if self._asking is not None else b""
        await write(OUT, OUT.place.end_line().encode() + data + again)

    def clear(self) -> None:
        """As ^C."""
        if self._asking is not None:
            self._cleared = True
            self._unread = b""
            OUT.place.disturbed()
            # Cancels K0.plain_prompt.
            self._asking.cancel()

    def resumed(self) -> None:
        """The kernel has its line still."""

    def redraw(self) -> None:
        """There is no bar."""
