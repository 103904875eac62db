"""Calls that may block for good, each in a thread of its own."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

ResultT = TypeVar("ResultT")
ArgumentsT = TypeVarTuple("ArgumentsT")


async def in_own_thread(
    function: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT
) -> ResultT:
    """What the function returns, or its error. For files whose other side may never come: a pager
    that does not read, a pipe that no process writes to, a disk that stands still.

    Each call has a limiter of its own, because such a call would otherwise keep one of the threads
    that Trio's own calls share, as for looking up names.

    Cancelled: the thread is left, and what it returns is discarded.

    Cancellation: minimum cleanup.
    """
    return await trio.to_thread.run_sync(
        function, *arguments, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
    )
