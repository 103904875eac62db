"""The terminal as a verb's standard input, and for a question to the user.

Without a thread that waits in read(2): one that is left behind would take the next line from the
prompt.
"""

import os
import termios
from typing import Any, Final

import trio

from ..descriptors import OUT
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
    """Asks for a line that is typed unseen. ``ask`` is what a verb's thread calls."""

    def __init__(self) -> None:
        self._asking: trio.CancelScope | None = None

    def ask(self, question: str) -> str:
        """The line. Raises EOFError at ^D, and where the verb has ended meanwhile."""
        return trio.from_thread.run(self._ask, question)

    async def _ask(self, question: str) -> str:
        line: bytes | None = None
        # Scope K0.question.
        with trio.CancelScope() as self._asking:
            await write(OUT, question.encode(errors="backslashreplace"))
            line = await _unseen_line()
        self._asking = None
        if not line:
            raise EOFError
        return os.fsdecode(line.removesuffix(b"\n"))

    def give_up(self) -> None:
        """The verb has ended, so that nothing waits for an answer."""
        if self._asking is not None:
            # Cancels K0.question.
            self._asking.cancel()


async def _unseen_line() -> bytes:
    before = termios.tcgetattr(0)
    unseen: list[Any] = [*before]
    unseen[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(0, termios.TCSAFLUSH, unseen)
        await trio.lowlevel.wait_readable(0)
        return os.read(0, _READ_BYTES)
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)
        OUT.send(b"\n")
