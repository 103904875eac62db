"""Work that blocks, kept apart from what else runs in the process."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

from ..concurrency.own_thread import in_own_thread
from .invocation import current

ResultT = TypeVar("ResultT")
ArgumentsT = TypeVarTuple("ArgumentsT")


async def apart(function: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT) -> ResultT:
    """What the function returns, which reads files or asks the user. In a host it runs in a thread,
    because others would wait with it; otherwise here, where signals reach it.

    Cancelled: in a host the thread is left, and its result discarded.

    No checkpoint in a process that runs one command line.

    Cancellation: minimum cleanup.
    """
    if not current().hosted:
        return function(*arguments)
    return await in_own_thread(function, *arguments)
