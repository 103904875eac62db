"""^C, SIGTERM and the like, for verbs, because each prints a message before it ends."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import trio

from ..concurrency.interrupts import uninterrupted_context, uninterrupted_methods
from ..concurrency.plain_errors import PlainErrors
from .ending_signals import SIGNAL_BASE, ending_signals
from .failures import Failed
from .invocation import current
from .shell_words import shell_line
from .terminal import harmless

P = ParamSpec("P")
Answer = TypeVar("Answer")


@uninterrupted_methods
class Signals:
    """The signals so far. Calls ``react`` for each one, between two checkpoints."""

    def __init__(self) -> None:
        self.count = 0
        """Without those that are one with the signal before: a terminal that is closed sends
        HUP twice or three times, by the kernel and by the shell."""
        self.number = 0
        self.react: Callable[[], None] = lambda: None
        self.hangup_is_one = True
        """Whether a further HUP still means the same closing of the terminal."""

    @property
    def exit_code(self) -> int:
        """A shell's status for a process that the last signal ended: 130, 143; 0 if none came."""
        return SIGNAL_BASE + self.number if self.count else 0

    async def _deliver(self, arriving: AsyncIterator[int]) -> None:
        async for number in arriving:
            self.take(number)

    def take(self, number: int) -> None:
        """Counts a signal, then calls ``react``."""
        if number == self.number == signal.SIGHUP and self.hangup_is_one:
            return
        self.count += 1
        self.number = number
        err = current().err
        if number in (signal.SIGINT, signal.SIGQUIT) and err.terminal:
            err.place.disturbed()  # the terminal shows ^C where its cursor was
        self.react()


def hangs_up() -> bool:
    """Whether a closed terminal ends this command line: not if HUP is ignored (``nohup``)."""
    given = current().signals
    if given is not None:
        return signal.SIGHUP not in given.ignored
    return signal.SIGHUP in ending_signals()


@uninterrupted_context
@asynccontextmanager
async def caught_signals() -> AsyncIterator[Signals]:
    """Inside, no signal of ``ending_signals`` ends anything by itself; in a host none of those that
    it gives.

    No checkpoint as it is entered or left where neither signal is wanted.

    Cancellation: minimum cleanup; C22.
    """
    signals = Signals()
    given = current().signals
    if given is not None:
        with given.caught() as coming:
            async with beside(signals._deliver, coming):
                yield signals
        return
    wanted = ending_signals()
    if not wanted:
        yield signals
        return
    with trio.open_signal_receiver(*wanted) as arriving:
        async with beside(signals._deliver, arriving):
            yield signals


@uninterrupted_context
@asynccontextmanager
async def detaching(go_on: Callable[[], str]) -> AsyncIterator[None]:
    """The first signal ends the body; the server carries on with what it was asked for. The verb
    then ends by Failed, with the signal's status and the text of ``go_on``, which names the
    command by which the user resumes.

    The signal does not undo a body that has finished by then, because its answer counts.

    Cancellation: minimum cleanup; C22.
    """
    async with caught_signals() as signals:
        # Scope K0.detach.
        with trio.CancelScope() as scope:  # noqa: ASYNC100  # the checkpoints are the body's
            # Cancels K0.detach.
            signals.react = scope.cancel
            yield
        if scope.cancelled_caught:
            raise Failed(f"Detached; {go_on()}", signals.exit_code)


def detaches(
    go_on: str,
) -> Callable[[Callable[P, Awaitable[Answer]]], Callable[P, Awaitable[Answer]]]:
    """Decorates a verb that a signal ends (``detaching``). ``go_on`` is the text of how the user
    resumes, and may name the verb's parameters: ``{pid}``, ``{pids}``."""

    def decorate(verb: Callable[P, Awaitable[Answer]]) -> Callable[P, Awaitable[Answer]]:
        @wraps(verb)
        async def caught(*args: P.args, **given: P.kwargs) -> Answer:
            async with detaching(lambda: harmless(go_on.format(**_typed(given)))):
                return await verb(*args, **given)

        return caught

    return decorate


def _typed(given: Mapping[str, object]) -> dict[str, object]:
    """A verb's parameters as a user would type them: several jobs as one part of a line."""
    pids = given.get("pids")
    return {**given, "pids": shell_line(pids)} if isinstance(pids, tuple) else {**given}


@uninterrupted_context
@asynccontextmanager
async def beside(task: Callable[..., Awaitable[object]], *args: object) -> AsyncIterator[None]:
    """Runs a task as long as the body; the body's error is raised plain, not in a group.

    Cancellation: minimum cleanup.
    """
    errors = PlainErrors()
    with errors.outside():
        # Scope K0.beside.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task, *args)
            with errors.inside():
                yield
            # Cancels K0.beside.
            nursery.cancel_scope.cancel()
