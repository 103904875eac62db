"""Writing to a standard descriptor without holding up other tasks.

Apart from ``standard``, because that must be loaded before anything as large as Trio.
"""

import select

import trio

from .standard import Descriptor


async def write(descriptor: Descriptor, data: bytes) -> None:
    """As ``Descriptor.send``, in a thread, because a pager may not read for minutes. Raises
    OutputFailed.

    Cancelled: an unknown part is written.

    Cancellation: minimum cleanup.
    """
    if _takes_at_once(descriptor, len(data)):
        await trio.lowlevel.checkpoint()
        descriptor.send(data)
    else:
        # A limiter of its own, because a pager that does not read would otherwise take a thread
        # from looking up names.
        own = trio.CapacityLimiter(1)
        await trio.to_thread.run_sync(descriptor.send, data, abandon_on_cancel=True, limiter=own)


def _takes_at_once(descriptor: Descriptor, size: int) -> bool:
    """Whether a write needs no thread: one for every short line would cost more than the line
    (7,000 a second instead of 25,000). A writable pipe has room for PIPE_BUF bytes (pipe(7)); not
    for a terminal, because a writable one may be stopped (^S) half-way.
    """
    if size > select.PIPE_BUF or descriptor.terminal:
        return False
    return bool(select.select((), (descriptor.fd,), (), 0)[1])
