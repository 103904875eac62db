"""Writing to a standard descriptor without holding up other tasks.

Apart from ``standard``, because that must be loaded before anything as large as Trio.
"""

import select

import trio

from ..concurrency.own_thread import in_own_thread
from .descriptors import StandardDescriptor
from .invocation import Target, current


async def write(target: Target, data: bytes) -> None:
    """As ``send``, in a thread, because a pager may not read for minutes. Raises OutputFailed.

    Cancelled: an unknown part is written.

    Cancellation: minimum cleanup.
    """
    if not isinstance(target, StandardDescriptor):
        await target.write(data)
    elif _takes_at_once(target, len(data)):
        await trio.lowlevel.checkpoint()
        target.send(data)
    else:
        await in_own_thread(target.send, data)


async def drain() -> None:
    """Returns once all that was said is written, or has failed to be, as it is at once but in a
    host: what a verb says without end would fill the host's memory otherwise.

    No checkpoint where nothing waits to be written.

    Cancellation: minimum cleanup.
    """
    for target in (current().out, current().err):
        if not isinstance(target, StandardDescriptor):
            await target.flush()


def _takes_at_once(descriptor: StandardDescriptor, size: int) -> bool:
    """Whether a write needs no thread: one for every short line would cost more than the line
    (7,000 a second instead of 25,000). A writable pipe has room for PIPE_BUF bytes (pipe(7)); not
    for a terminal, because a writable one may be stopped (^S) half-way.
    """
    if size > select.PIPE_BUF or descriptor.terminal:
        return False
    return bool(select.select((), (descriptor.fd,), (), 0)[1])
