"""A stream over any number of connections: what a Follower and a JobWatcher share.

A connection counts as lost when it is closed, when it does not answer (the channel's keepalive),
when the stream is silent for SILENT_HEARTBEATS heartbeats, and when a server that shuts down ends
its calls. Then the next one is made, and the stream resumes where its owner stands.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import trio
from google.protobuf.message import Message

from ..rpc.call_errors import RpcError
from ..rpc.channel import ClientCall
from .client import Client
from .delivery import next_within
from .first_connection import Connect, Endpoint
from .retry import Attempts, is_away, is_refused_for_now

MessageT = TypeVar("MessageT", bound=Message)

HEARTBEAT_S: Final = 20.0
SILENT_HEARTBEATS: Final = 3


class News:
    """Callbacks of a Follower or a JobWatcher about its connection; these do nothing. They must not
    block, because the stream waits for them."""

    def lost(self, error: RpcError) -> None:
        """The connection was lost, and the follower will try to reconnect. Once per loss."""

    def resumed(self, offset: int) -> None:
        """The stream has resumed at this byte offset, the watch behind this sequence."""


class Resumption(Generic[MessageT]):
    """The connections of one stream, whose owner reads it by ``first`` and ``next``.

    ``begun``: the service has admitted the stream before, so a refusal for now may pass.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        give_up_s: float,
        heartbeat_s: float,
        news: News | None,
        connecting: Connect,
        connect_timeout_s: float,
    ) -> None:
        self.begun = False
        self._attempts = Attempts(
            endpoint, give_up_s, connecting=connecting, connect_timeout_s=connect_timeout_s
        )
        self._silence_s = heartbeat_s * SILENT_HEARTBEATS or math.inf
        self._news = news or News()
        self._answered_at: float | None = None
        self._is_lost = False
        self._giving = False

    async def over_connections(
        self, read: Callable[[Client], Awaitable[None]], client: Client | None
    ) -> None:
        """Calls ``read`` on one connection after the other until it returns, or an error comes that
        no retry mends, which it raises.

        Cancellation: minimum cleanup; C21.
        """

        async def attempt(connected: Client) -> None:
            self._answered_at = None
            try:
                await read(connected)
            except RpcError:
                if self._answered_at is not None:
                    self._attempts.progress_if_stood(self._answered_at)  # even if nothing was new
                raise

        try:
            await self._attempts.make(
                attempt, passes=self._passes, on_lost=self._lost, client=client
            )
        except RpcError as error:
            if self._attempts.gave_up and self._attempts.give_up_s > 0:
                time_s = self._attempts.give_up_s
                error.add_note(f"given up after {time_s:g} s without anything new")
            raise

    async def first(self, call: ClientCall[MessageT]) -> MessageT | None:
        """The first message on a connection; None if the stream ends. Raises ConnectionLost if
        neither comes in time.

        Cancellation: minimum cleanup; C21.
        """
        return await next_within(call, min(self._silence_s, self._attempts.left_s))

    async def next(self, call: ClientCall[MessageT]) -> MessageT | None:
        """The next one, as ``first``.

        Cancellation: minimum cleanup; C21.
        """
        return await next_within(call, self._silence_s)

    def stands_at(self, position: int) -> None:
        """The service has answered on this connection, and the stream begins there."""
        self._answered_at = trio.current_time()
        if self._is_lost:
            self._is_lost = False
            self._news.resumed(position)

    def progress(self) -> None:
        """Something new has come: the time to give up begins anew at the next loss."""
        self._attempts.progress()

    async def give(self, take: Callable[[MessageT], Awaitable[None]], message: MessageT) -> None:
        """Calls ``take``, whose errors are never retried: they are the caller's, even if they look
        like a lost connection.

        Cancellation: minimum cleanup; C21.
        """
        self._giving = True
        await take(message)
        self._giving = False

    def _lost(self, error: RpcError) -> None:
        if not self._is_lost:  # reported once, even if further attempts fail
            self._is_lost = True
            self._news.lost(error)

    def _passes(self, error: RpcError) -> bool:
        """Whether a retry may succeed after this error."""
        if self._giving or not self._attempts.reached:
            return False
        return is_away(error) or (self.begun and is_refused_for_now(error))
