"""The terminal's state: as it was before, on every way out that a program can see."""

import contextlib
import os
import termios
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
        with contextlib.suppress(termios.error):
            self._before = termios.tcgetattr(0)

    def restore(self) -> None:
        """Makes it so again. Never fails: a terminal that is gone needs nothing back."""
        if self._before is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSANOW, self._before)

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
        if not whole and not plain:
            with contextlib.suppress(OSError):
                os.write(1, _PLAIN)
