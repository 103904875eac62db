"""Retries after a loss: the one loop of this package, and which errors are a loss.

``Attempts`` makes one connection after the other until its user's attempt succeeds or the time is
over. What may be repeated, and what is new enough to begin the time anew, differs, so its users
decide that: single calls (``repeated_calls``), a reader (``follow``), a sender of input
(``send_input``), a watcher (``watch``). Only the first connection has a loop of its own
(``client.connect``), because no connection was lost there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final, TypeVar

import trio

from ..concurrency.interrupts import uninterrupted_context, uninterrupted_methods
from ..rpc.call_errors import HandshakeFailed, RpcError, StatusCode
from .backoff import LONGEST_PAUSE_S, Backoff
from .client import Client
from .first_connection import CONNECT_S, Connect, Endpoint, connect

ResultT = TypeVar("ResultT")

RETRY_S: Final = 10.0
"""How long a single call is tried for: a restarted server takes calls again within 1 to 2 s."""
GIVE_UP_S: Final = 60.0
"""How long it is tried for where a job runs on meanwhile: its output, its input, its end."""

# An attempt gets so much even if less time is left, so that it can succeed.
_LEAST_ATTEMPT_S: Final = 1.0


def is_away(error: RpcError) -> bool:
    """Whether the server is out of reach or takes no calls for now. Not if TLS was refused,
    because no retry changes that."""
    refused = isinstance(error, HandshakeFailed) and not error.may_pass
    return error.code is StatusCode.UNAVAILABLE and not refused


def was_lost(error: RpcError) -> bool:
    """Whether the connection was lost, or the server with the call under way. Not if the service
    has refused the call for now, because it has answered then, with a retry delay."""
    return is_away(error) and not asks_to_wait(error)


def asks_to_wait(error: RpcError) -> bool:
    """Whether the service has refused the call for now and says when to retry."""
    return bool(_retry_infos(error))


def is_refused_for_now(error: RpcError) -> bool:
    """Whether a quota refuses a stream. If it has admitted that before, the server may not have
    noticed yet that the last connection is gone, or it has cut off a reader that did not read for
    minutes. An error of our own channel with this code has no details, and would only repeat."""
    return error.code is StatusCode.RESOURCE_EXHAUSTED and bool(error.details)


def _retry_after_s(error: RpcError) -> float:
    delays = [each.retry_delay for each in _retry_infos(error)]
    return max((delay.seconds + delay.nanos / 1e9 for delay in delays), default=0.0)


def _retry_infos(error: RpcError) -> list[Any]:
    """By the type's name, because google.rpc's types are imported with the first failure that has
    details."""
    return [each for each in error.details if each.DESCRIPTOR.full_name == "google.rpc.RetryInfo"]


@uninterrupted_methods
class Attempts:
    """Connections to one server for one purpose, the next one after a loss of the one before.

    ``reached``: there was a connection, or the caller knows that the server is there.
    ``connected``: the attempt under way has one. ``gave_up``: it ended because time was over.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        give_up_s: float,
        *,
        connecting: Connect = connect,
        connect_timeout_s: float | None = None,
        reached: bool = False,
    ) -> None:
        """``give_up_s``: how long to try after a loss, in seconds, until ``progress``; 0: not at
        all. ``connecting`` makes connections, the first one within ``connect_timeout_s``, or its
        own default."""
        self.give_up_s = give_up_s
        self.reached = reached
        self.connected = False
        self.gave_up = False
        self._endpoint = endpoint
        self._connecting = connecting
        self._first = {} if connect_timeout_s is None else {"connect_timeout_s": connect_timeout_s}
        self._lost = False
        self._backoff = Backoff(give_up_s)

    @property
    def left_s(self) -> float:
        """Seconds that the attempt under way may take to make progress; infinite before the first
        loss."""
        return max(_LEAST_ATTEMPT_S, self._backoff.left_s(trio.current_time()))

    def progress(self) -> None:
        """Call it when something new has arrived: the time begins anew at the next loss."""
        self._backoff.progress()

    def progress_if_stood(self, since: float) -> None:
        """Counts as progress that the connection has stood since ``since``, if that is long enough.

        A short one does not count, because otherwise a server that always breaks off would be asked
        for ever.
        """
        if trio.current_time() - since >= LONGEST_PAUSE_S:
            self._backoff.progress()

    async def make(
        self,
        attempt: Callable[[Client], Awaitable[ResultT]],
        *,
        passes: Callable[[RpcError], bool],
        on_lost: Callable[[RpcError], None] = lambda error: None,
        client: Client | None = None,
    ) -> ResultT:
        """What ``attempt`` returns; connections, retries and errors are as in ``answered``.

        Cancellation: minimum cleanup.
        """
        made = self.answered(attempt, passes=passes, on_lost=on_lost, client=client)
        async with made as (_, answer):
            return answer

    @uninterrupted_context
    @asynccontextmanager
    async def answered(
        self,
        attempt: Callable[[Client], Awaitable[ResultT]],
        *,
        passes: Callable[[RpcError], bool],
        on_lost: Callable[[RpcError], None] = lambda error: None,
        client: Client | None = None,
    ) -> AsyncIterator[tuple[Client, ResultT]]:
        """A connection on which ``attempt`` has returned, and its result.

        Calls ``attempt`` on one connection after the other while ``passes`` is true of its error or
        of that of connecting: a retry may succeed. Calls ``on_lost`` for each connection that was
        lost so; it must not block. ``client`` is a connection to begin with, which stays the
        caller's. Raises the last error, and what the block raises, which is never retried.

        Cancellation: minimum cleanup.
        """
        done = False
        while True:
            self.connected = False
            try:
                async with self._opened() if client is None else nullcontext(client) as opened:
                    self.reached = self.connected = True
                    answer = await attempt(opened)
                    done = True
                    yield opened, answer
                return
            except RpcError as error:
                if done or not passes(error):
                    raise
                pause_s = self._backoff.pause_s(trio.current_time(), _retry_after_s(error))
                if pause_s is None:
                    self.gave_up = True
                    raise
                if self.connected:
                    on_lost(error)
            self._lost, client = True, None
            await trio.sleep(pause_s)

    def _opened(self) -> AbstractAsyncContextManager[Client]:
        options = self._first
        if self._lost:
            options = {"connect_timeout_s": min(CONNECT_S, self.left_s)}
        return self._connecting(self._endpoint, **options)
