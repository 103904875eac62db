"""One run of Trio that goes on only when it is told to, in virtual time and in this thread.

It is Trio's guest mode with a host that pumps by hand: between two steps nobody runs and no time
passes, however long the host thinks about the next one. Within a step something is always ready
or due, so Trio never asks for the thread in which it would wait for files.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import outcome
import trio
import trio.testing

T = TypeVar("T")
Step = Callable[[], Awaitable[Any]]
# Of one step: far more than the longest takes, so whoever uses them turns in a circle.
_MOST_TICKS = 100_000


class Stepping:
    """``main`` sets up its nurseries and awaits ``do_steps`` of what it is given in them.

    Not to be used in a thread in which Trio runs already.
    """

    def __init__(self, main: Callable[["Stepping"], Awaitable[None]]) -> None:
        self._todo: deque[Callable[[], object]] = deque()
        self._step: Step | None = None
        self._ended = False
        self._answer: outcome.Outcome[Any] | None = None
        self._result: outcome.Outcome[None] | None = None
        trio.lowlevel.start_guest_run(
            main,
            self,
            run_sync_soon_threadsafe=self._todo.append,
            done_callback=self._done,
            clock=trio.testing.MockClock(autojump_threshold=0),
        )

    def _done(self, result: "outcome.Outcome[None]") -> None:
        self._result = result

    # The host's side.

    def step(self, what: Callable[[], Awaitable[T]]) -> T:
        """Runs everybody until ``what`` has returned and all the others wait. Raises what it
        raises, or what the run has ended with."""
        assert self._step is None
        self._step, self._answer = what, None
        self._pump()
        answer: outcome.Outcome[T] | None = self._answer
        if answer is None:
            assert self._result is not None
            self._result.unwrap()
            raise AssertionError("the run has ended before its step")
        return answer.unwrap()

    def end(self) -> None:
        """Lets ``main`` return. Raises what it raises."""
        if self._result is None:
            self._ended = True
            self._answer = None
            self._pump()
        assert self._result is not None
        self._result.unwrap()

    def _pump(self) -> None:
        for _ in range(_MOST_TICKS):
            if self._answer is not None or self._result is not None:
                return
            self._todo.popleft()()
        raise AssertionError(f"after {_MOST_TICKS} ticks in no time somebody is still busy")

    # The run's side.

    async def do_steps(self) -> None:
        """In ``main``: does what ``step`` gives it, until ``end``."""
        while not self._ended:
            what, self._step = self._step, None
            if what is None:
                await trio.lowlevel.checkpoint()  # the host does not pump before it has a step
                continue
            answer: outcome.Outcome[Any]
            try:
                answer = outcome.Value(await what())
            except Exception as error:
                answer = outcome.Error(error)
            await trio.testing.wait_all_tasks_blocked()
            self._answer = answer
