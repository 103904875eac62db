"""One call, asked for over as many connections as it takes, as far as it may be repeated."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio
from google.rpc.error_details_pb2 import RetryInfo

from ..concurrency.interrupts import uninterrupted
from ..rpc.call_errors import HandshakeFailed, RpcError, StatusCode
from .backoff import LONGEST_PAUSE_S, Backoff
from .client import CONNECT_S, Client, Connect, Endpoint, connect

ResultT = TypeVar("ResultT")

# A server that is restarted takes calls again within a second or two.
RETRY_S: Final = 10.0
# However little time is left, an attempt gets so much of it.
_LEAST_ATTEMPT_S: Final = 1.0


def was_lost(error: RpcError) -> bool:
    """The connection went, or the server with the call under way; not when the service has refused
    the call for now: then it says for how long."""
    asked_to_wait = any(isinstance(item, RetryInfo) for item in error.details)
    refused = isinstance(error, HandshakeFailed) and not error.may_pass
    return error.code is StatusCode.UNAVAILABLE and not asked_to_wait and not refused


@uninterrupted
async def ask(
    endpoint: Endpoint,
    call: Callable[[Client], Awaitable[ResultT]],
    *,
    repeatable: bool,
    give_up_s: float = RETRY_S,
    reached: bool = False,
    connecting: Connect = connect,
    on_lost: Callable[[RpcError], None] = lambda error: None,
) -> ResultT:
    """What ``call`` returns, which is given a connection. When that or the server is lost, it is
    called again on another one, for ``give_up_s``, which begin anew when a connection has stood for
    five seconds; ``on_lost`` is told of each loss.

    ``repeatable``: it may be asked for twice, as it reads, or as what it does twice is the same.
    Else it is called again only where the server says that it has not begun it. ``connecting``
    makes connections; a first one that it cannot make is not tried for again, unless ``reached``
    says that the server was there a moment ago. Raises what ``connecting`` and ``call`` raise.
    Cancelled: what was asked for may happen.

    Cancellation: minimum cleanup.
    """
    backoff = Backoff(give_up_s)
    lost = False
    while True:
        left_s = min(CONNECT_S, max(_LEAST_ATTEMPT_S, backoff.left_s(trio.current_time())))
        opened = connecting(endpoint, connect_timeout_s=left_s) if lost else connecting(endpoint)
        connected = False
        begun_at = trio.current_time()
        try:
            async with opened as client:
                reached = connected = True
                begun_at = trio.current_time()
                return await call(client)
        except RpcError as error:
            if connected and trio.current_time() - begun_at >= LONGEST_PAUSE_S:
                # Not each time: a server that always answers so would be asked for ever.
                backoff.progress()
            again = was_lost(error) and (repeatable or not connected) and reached
            pause_s = None
            if again or error.not_begun:
                pause_s = backoff.pause_s(trio.current_time())
            if pause_s is None:
                raise
            if connected:
                on_lost(error)
        lost = True
        await trio.sleep(pause_s)
