"""^C and SIGTERM, for verbs that have something to say or to do before they end."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from ..interrupts import uninterrupted_context, uninterrupted_methods
from ..plain_errors import PlainErrors


@uninterrupted_methods
class Signals:
    """What has come so far. ``react`` is called for each signal, between two checkpoints."""

    def __init__(self) -> None:
        self.count = 0
        self.exit_code = 0
        """What a shell says of a process that the last signal ended: 130, 143."""
        self.react: Callable[[], None] = lambda: None

    async def _deliver(self, arriving: AsyncIterator[int]) -> None:
        async for number in arriving:
            self.count += 1
            self.exit_code = 128 + number
            self.react()


@uninterrupted_context
@asynccontextmanager
async def caught_signals() -> AsyncIterator[Signals]:
    """Inside, SIGINT and SIGTERM end nothing by themselves. One that was ignored when this
    process began (``nohup``, a shell's background job) still is.

    No checkpoint as it is entered or left where neither signal is wanted.

    Cancellation: minimum cleanup; C22.
    """
    signals = Signals()
    wanted = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    if not wanted:
        yield signals
        return
    with trio.open_signal_receiver(*wanted) as arriving:
        async with beside(signals._deliver, arriving):
            yield signals


@uninterrupted_context
@asynccontextmanager
async def beside(task: Callable[..., Awaitable[Any]], *args: Any) -> AsyncIterator[None]:
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
