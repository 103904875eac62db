"""The terminal's state: as it was before, on every way out that a program can see."""

import contextlib
import os
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

# Bracketed paste off, the cursor shown, no colours, the main screen: what an editor or a verb that
# has failed half-way may have left. Each does nothing where it is so already.
_PLAIN: Final = b"\x1b[?2004l\x1b[?25h\x1b[0m"


class KeptTerminal:
    """What standard input's terminal was like when this was made."""

    def __init__(self) -> None:
        self._before: list[Any] | None = None
        self._leaving = False
        self._left = threading.Event()
        with contextlib.suppress(termios.error):
            self._before = termios.tcgetattr(0)

    def restore(self) -> None:
        """Makes it so again. Never fails: a terminal that is gone needs nothing back."""
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, self._before)

    def leave_within(self, seconds: float, code: int) -> None:
        """Ends the process so by then, with the terminal as it was: one that takes nothing any more
        may hold up the main thread for good, in a write of the prompt's or of a verb's."""
        if not self._leaving:
            self._leaving = True
            threading.Thread(target=self._end, args=(seconds, code), daemon=True).start()

    def _end(self, seconds: float, code: int) -> None:
        if not self._left.wait(seconds):
            self.restore()
            os._exit(code)

    def left(self) -> None:
        """Nothing holds it up."""
        self._left.set()

    @property
    def gone(self) -> bool:
        """Whether the terminal has been closed."""
        if self._before is None:
            return False
        try:
            termios.tcgetattr(0)
        except termios.error:
            return True
        return False


@contextmanager
def kept_terminal(*, plain: bool) -> Iterator[KeptTerminal]:
    """Restores it at the end. ``plain``: it is a dumb one, which must get no sequences."""
    kept = KeptTerminal()
    whole = False
    try:
        yield kept
        whole = True
    finally:
        kept.restore()
        kept.left()
        if not whole and not plain:
            with contextlib.suppress(OSError):
                os.write(1, _PLAIN)
