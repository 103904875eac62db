"""One operation, cancelled at its n-th step or failed at its n-th call, for every n there is."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.abc

_MOST_STEPS = 500  # of an operation that a test walks through


class _At(trio.abc.Instrument):
    """Calls back before the n-th step that any task makes from now on; 0 is the next one."""

    def __init__(self, step: int, then: Callable[[], None]) -> None:
        self._left = step
        self._then = then

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._left == 0:
            self._then()
        self._left -= 1


class _Before(trio.abc.Instrument):
    """Calls back before the next step of a task whose name ends so, once."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self._name = name
        self._then = then

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith(self._name):
            trio.lowlevel.remove_instrument(self)
            self._then()


def before_step_of(name: str, then: Callable[[], None]) -> None:
    """``then`` happens when such a task is about to go on, which nothing can keep it from."""
    trio.lowlevel.add_instrument(_Before(name, then))


async def cancelled_at(step: int, operation: Callable[[], Awaitable[object]]) -> bool:
    """Runs it, cancelled as some task goes on for the ``step``-th time; 0: before it begins.

    Not its own steps alone: while it waits, what it waits for is at one stage after the other.
    Did it come to that? Errors pass.
    """
    reached = step == 0
    with trio.CancelScope() as scope:

        def cancel() -> None:
            nonlocal reached
            reached = True
            scope.cancel()

        if step == 0:
            scope.cancel()
        watch = _At(step - 1, cancel)
        trio.lowlevel.add_instrument(watch)
        try:
            await operation()
        finally:
            trio.lowlevel.remove_instrument(watch)
    return reached


async def at_every(attempt: Callable[[int], Awaitable[bool]]) -> int:
    """Calls with 0, 1, ... until it says that the operation had no such step; how many it has."""
    for step in range(_MOST_STEPS):
        if not await attempt(step):
            return step
    raise AssertionError(f"it has over {_MOST_STEPS} steps")


class Failing:
    """Counts calls of functions, and lets the n-th fail instead."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.failed = False

    def around(self, function: Callable[..., Any], error: Callable[[], Exception]) -> Any:
        """The function, or its error in its place."""

        def called(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                self.failed = True
                raise error()
            return function(*args, **kwargs)

        return called
