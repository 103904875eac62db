"""^C at a chosen place: as the n-th line of the library is about to run, or a task's n-th step."""

import signal
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
import trio.abc

import penstock

_SOURCE = str(Path(penstock.__file__).parent)
# Between the library and its caller: ^C in here would keep a block from being left.
_CONTEXTS = contextmanager.__code__.co_filename


def come() -> None:
    """A real one: Python runs its handler at once, above whatever line this is called for."""
    signal.raise_signal(signal.SIGINT)


class Lines:
    """Calls back before the n-th of the lines that run, each line of the source counted once.

    All that the library runs in this thread, in whatever task. ``reached``: which line it was.
    """

    def __init__(self, at: int, then: Callable[[], None] = come) -> None:
        self.seen: set[tuple[str, int]] = set()
        self.reached = ""
        self._at = at
        self._then = then

    @contextmanager
    def watched(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _call(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_SOURCE) and name != _CONTEXTS:
            return None
        return self._line

    def _line(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            place = (frame.f_code.co_filename, frame.f_lineno)
            if place not in self.seen:
                self.seen.add(place)
                if len(self.seen) - 1 == self._at:
                    self.reached = f"{place[0]}:{place[1]}"
                    self._then()
        return self._line


class Steps(trio.abc.Instrument):
    """^C before the n-th step that any task makes, and before each of the ``again`` after it.

    Trio itself runs then, so the main task gets it, at its next checkpoint.
    """

    def __init__(self, at: int, again: int = 0) -> None:
        self.reached = False
        self._left = at
        self._again = again

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._left <= 0 and self._again >= 0:
            self.reached = True
            self._again -= 1
            come()
        self._left -= 1


@contextmanager
def pythons_own_handler() -> Iterator[None]:
    """That which Trio takes over for a run."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
