"""Writing to a standard descriptor without holding up other tasks.

Apart from ``standard``, which must be there before anything as large as Trio is imported.
"""

import select

import trio

from .standard import Descriptor


async def write(descriptor: Descriptor, data: bytes) -> None:
    """As ``Descriptor.send``, without holding up other tasks: a pager may not read for minutes.

    Cancelled: an unknown part is written.

    Cancellation: minimum cleanup.
    """
    if _takes_at_once(descriptor, len(data)):
        await trio.lowlevel.checkpoint()
        descriptor.send(data)
    else:
        # Of its own: a pager that does not read must not take one from looking up names.
        own = trio.CapacityLimiter(1)
        await trio.to_thread.run_sync(descriptor.send, data, abandon_on_cancel=True, limiter=own)


def _takes_at_once(descriptor: Descriptor, size: int) -> bool:
    """A thread for every short line would cost more than the line (25,000 a second are
    7,000 then). A pipe that is writable has room for PIPE_BUF bytes (pipe(7)); a terminal
    that is writable may be stopped (^S) half-way.
    """
    if size > select.PIPE_BUF or descriptor.terminal:
        return False
    return bool(select.select((), (descriptor.fd,), (), 0)[1])
