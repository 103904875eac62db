"""The terminal as a verb's standard input, and for a question to the user.

Without a thread that waits in read(2): one that is left behind would take the next line from the
prompt.
"""

import os
import termios
from contextlib import suppress
from typing import Any, Final

import trio

from ..descriptors import OUT, OutputFailed
from ..writing import write

_READ_BYTES: Final = 4096


class TerminalInput:
    """What is typed while a verb reads it, in lines, as ``invocation.HostedInput`` has it."""

    async def check(self) -> None:
        """It can be read.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()

    async def receive(self, count: int) -> bytes:
        """What is typed next; b"" at ^D. Raises OSError.

        Cancellation: atomic; C19.
        """
        await trio.lowlevel.wait_readable(0)
        return os.read(0, count)


class TerminalQuestion:
    """Asks for lines that are typed unseen, for one verb. ``ask`` is what its thread calls."""

    def __init__(self) -> None:
        self._over = False
        self._before: list[Any] | None = None
        """The terminal's attributes, while it shows nothing of what is typed."""
        self._asking: trio.CancelScope | None = None

    def ask(self, question: str) -> str:
        """The line. Raises EOFError at ^D, and where the verb has ended meanwhile."""
        return trio.from_thread.run(self._ask, question)

    async def _ask(self, question: str) -> str:
        if self._over:
            raise EOFError  # the verb has left its thread before that has come here
        line: bytes | None = None
        # Scope K0.question.
        with trio.CancelScope() as self._asking:
            await write(OUT, question.encode(errors="backslashreplace"))
            line = await self._unseen_line()
        self._asking = None
        if not line:
            raise EOFError
        return os.fsdecode(line.removesuffix(b"\n"))

    async def _unseen_line(self) -> bytes:
        before = termios.tcgetattr(0)
        unseen: list[Any] = [*before]
        unseen[3] &= ~termios.ECHO
        termios.tcsetattr(0, termios.TCSAFLUSH, unseen)
        self._before = before
        try:
            await trio.lowlevel.wait_readable(0)
            return os.read(0, _READ_BYTES)
        finally:
            self._show_again()

    def _show_again(self) -> None:
        if self._before is not None:
            with suppress(termios.error, OutputFailed):  # the terminal may be gone
                termios.tcsetattr(0, termios.TCSANOW, self._before)
                OUT.send(OUT.place.end_line().encode())
            self._before = None

    def give_up(self) -> None:
        """The verb has ended, so that nothing waits for an answer. The terminal is given back at
        once, because the next prompt takes it."""
        self._over = True
        if self._asking is not None:
            # Cancels K0.question.
            self._asking.cancel()
        self._show_again()
