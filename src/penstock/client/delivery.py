"""Messages of a stream that outlives connections: handed over one at a time, or iterated over."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import trio
from google.protobuf.message import Message

from ..concurrency.interrupts import uninterrupted, uninterrupted_context
from ..concurrency.plain_errors import PlainErrors
from ..rpc.call_errors import ConnectionLost
from ..rpc.channel import ClientCall

MessageT = TypeVar("MessageT", bound=Message)


@uninterrupted_context
@asynccontextmanager
async def delivered(
    deliver: Callable[[Callable[[MessageT], Awaitable[None]]], Awaitable[None]],
    dealt: Callable[[MessageT], None] = lambda message: None,
) -> AsyncIterator[AsyncIterator[MessageT]]:
    """What ``deliver`` gives to the function that it is called with, to iterate over. Iterating
    raises the errors of ``deliver``. ``dealt`` is called with each message once the next one is
    asked for.

    One message is fetched ahead. Waiting for the next one is atomic: cancelled, none is lost.
    Leaving the block cancels ``deliver``.

    Cancellation: minimum cleanup; C21.
    """
    send, receive = trio.open_memory_channel[MessageT](0)
    messages = _Messages(receive, dealt)

    @uninterrupted
    async def pump() -> None:
        async with send:
            try:
                await deliver(send.send)
            except Exception as error:
                messages.failure = error  # raised by the iteration

    errors = PlainErrors()
    with errors.outside():
        # Scope K3.
        async with trio.open_nursery() as nursery, receive:
            nursery.start_soon(pump)
            with errors.inside():
                yield messages
            # Cancels K3.
            nursery.cancel_scope.cancel()


async def next_within(call: ClientCall[MessageT], within_s: float) -> MessageT | None:
    """The next message of a call; None at its end. Raises ConnectionLost if neither comes in time,
    although heartbeats were asked for.

    Cancellation: minimum cleanup; C21.
    """
    # Scope K3.heard.
    with trio.move_on_after(within_s):
        return await anext(call, None)
    raise ConnectionLost(f"the server has said nothing for {within_s:g} s")


class _Messages(Generic[MessageT]):
    """An iterator instead of a generator, because a cancelled wait would end that for good."""

    def __init__(
        self, channel: trio.MemoryReceiveChannel[MessageT], dealt: Callable[[MessageT], None]
    ) -> None:
        self.failure: Exception | None = None
        self._channel = channel
        self._dealt = dealt
        self._last: MessageT | None = None

    def __aiter__(self) -> "_Messages[MessageT]":
        return self

    async def __anext__(self) -> MessageT:
        if self._last is not None:
            self._dealt(self._last)
            self._last = None
        try:
            self._last = await self._channel.receive()
            return self._last
        except trio.EndOfChannel:
            if self.failure is not None:
                raise self.failure from None
            raise StopAsyncIteration from None
