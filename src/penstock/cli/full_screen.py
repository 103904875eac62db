"""A terminal that one verb has as a whole: its other screen, keys one by one, and back again."""

import os
import signal
import termios
import tty
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import trio

from ..concurrency.interrupts import uninterrupted_context
from .descriptors import OUT
from .signal_handling import beside
from .standard import encoded
from .writing import write

# xterm's private modes: the other screen, and no cursor. And the opposite.
_ENTER: Final = b"\x1b[?1049h\x1b[?25l"
_LEAVE: Final = b"\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
_KEY_BYTES: Final = 64
_SEQUENCES: Final = {
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
}


class FullScreen:
    """The terminal at standard input and output while ``full_screen`` is open."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None
        self._line_was_open = False

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines now."""
        with suppress(OSError):
            size = os.get_terminal_size(OUT.fd)
            if size.columns and size.lines:
                return size.columns, size.lines
        return 80, 24

    async def draw(self, lines: list[str]) -> None:
        """Shows these lines, of text that is as wide as the terminal at most. Raises OutputFailed.

        Cancellation: minimum cleanup.
        """
        shown = "\r\n".join(f"{line}{_REST_OF_LINE}" for line in lines)
        await write(OUT, encoded(f"{_HOME}{shown}{_REST_OF_SCREEN}"))

    async def keys(self) -> list[str]:
        """What is pressed next: characters, or "up", "down", "page up" or "page down"; nothing for
        a key that is none of these. Never returns once there is no input any more.

        Cancellation: atomic.
        """
        if not os.isatty(0):  # nor is every file one that can be waited for
            await trio.sleep_forever()
        await trio.lowlevel.wait_readable(0)
        try:
            text = os.read(0, _KEY_BYTES).decode(errors="replace")
        except OSError:  # the terminal is gone
            text = ""
        if not text:
            await trio.sleep_forever()
        if key := _SEQUENCES.get(text):
            return [key]
        return [] if text.startswith("\x1b") else list(text)

    def enter(self) -> None:
        """Takes the screen, and keys as they are pressed; ^C and ^Z stay signals."""
        with suppress(termios.error):
            self._before = termios.tcgetattr(0)
            tty.setcbreak(0, termios.TCSANOW)
        self._line_was_open = OUT.place.line_open
        OUT.send(_ENTER)

    def leave(self) -> None:
        """Gives back what ``enter`` has taken. May be called again."""
        with suppress(termios.error):
            if self._before is not None:
                termios.tcsetattr(0, termios.TCSANOW, self._before)
                self._before = None
                OUT.send(_LEAVE)
                OUT.place.line_open = self._line_was_open  # of the screen that is back


@uninterrupted_context
@asynccontextmanager
async def full_screen(on_resize: Callable[[], None]) -> AsyncIterator[FullScreen]:
    """The whole terminal for the time of the block. Calls ``on_resize`` when its size has changed
    and when it is shown again after ^Z, which gives it back meanwhile.

    Cancellation: minimum cleanup.
    """
    taken = FullScreen()
    signals = (signal.SIGWINCH, signal.SIGTSTP)
    with trio.open_signal_receiver(*signals) as arriving:
        taken.enter()
        try:
            async with beside(_follow, taken, arriving, on_resize):
                yield taken
        finally:
            with suppress(Exception):  # a terminal that is gone needs nothing back
                taken.leave()


async def _follow(
    taken: FullScreen, arriving: AsyncIterator[int], on_resize: Callable[[], None]
) -> None:
    async for number in arriving:
        if number == signal.SIGTSTP:
            taken.leave()
            os.kill(os.getpid(), signal.SIGSTOP)
            # Here it runs on, after fg.
            taken.enter()
        on_resize()
