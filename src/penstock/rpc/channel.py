"""A gRPC channel: many calls on one connection, for a client with a certificate.

A channel is one connection and never reconnects. When it is lost, every call on it fails with
ConnectionLost, and the caller opens another, because only the caller knows which calls may be
repeated.
"""

import math
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import trio
from google.protobuf.message import Message

from ..concurrency.interrupts import uninterrupted_context, uninterrupted_methods
from ..concurrency.plain_errors import PlainErrors
from .call_errors import ConnectionLost, HandshakeFailed, RpcError
from .client_call import ClientCall, MessageT, deadline_exceeded
from .client_connection import ClientConnection
from .dialing import dial, too_slow_for
from .limits import CLIENT_DEFAULTS, Limits
from .metadata import request_headers
from .tls.transport_interface import Transport

__all__ = [
    "Channel",
    "ClientCall",
    "ConnectionLost",
    "HandshakeFailed",
    "RpcError",
    "open_channel",
    "open_channel_on",
]

USER_AGENT: Final = "penstock"


@uninterrupted_methods
class Channel:
    """Made by ``open_channel``. Calls may run in any number of tasks at once.

    Common to all calls: ``service`` is the full name, ``timeout_s`` bounds the whole call
    and is sent to the server, ``metadata`` is text, or bytes where a name ends in ``-bin``.
    Leaving or cancelling a call that has not ended resets it, so that the server's handler
    ends too. Raises RpcError for any status but OK, ConnectionLost when the server is gone,
    ValueError for metadata that cannot be sent.
    """

    def __init__(self, link: ClientConnection, authority: str) -> None:
        self._link = link
        self._authority = authority

    @property
    def usable(self) -> bool:
        """Whether new calls can succeed: the connection is not lost and the server not leaving."""
        return self._link.unusable is None

    async def wait_unusable(self) -> ConnectionLost:
        """Returns when the connection is lost or the server is going away, with the reason.

        Cancellation: atomic; C2.
        """
        await self._link.became_unusable.wait()
        assert self._link.unusable is not None
        return self._link.unusable

    async def wait_answer(self) -> None:
        """Returns when the server has answered just now. Raises ConnectionLost.

        Cancellation: atomic; C2.
        """
        await self._link.wait_answer()

    async def unary(
        self,
        service: str,
        method: str,
        request: Message,
        response_type: type[MessageT],
        *,
        timeout_s: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> MessageT:
        """One request and its one response. Raises RpcError.

        Cancelled: the call is reset, and whether it has had its effect is unknown.

        Cancellation: minimum cleanup; C3.
        """
        async with self.server_stream(
            service, method, request, response_type, timeout_s=timeout_s, metadata=metadata
        ) as call:
            return await call.only_response()

    @uninterrupted_context
    @asynccontextmanager
    async def server_stream(
        self,
        service: str,
        method: str,
        request: Message,
        response_type: type[MessageT],
        *,
        timeout_s: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> AsyncIterator[ClientCall[MessageT]]:
        """One request and a stream of responses: ``async with`` it, then iterate.

        Flow control stops the server while the caller does not iterate, so that unread responses
        cost little memory. Leaving the block resets a call that has not ended.

        Cancellation: minimum cleanup; C1.
        """
        async with self.open_call(
            service, method, response_type, timeout_s=timeout_s, metadata=metadata
        ) as call:
            if await call.send(request):
                call.end()
            yield call

    @uninterrupted_context
    @asynccontextmanager
    async def open_call(
        self,
        service: str,
        method: str,
        response_type: type[MessageT],
        *,
        timeout_s: float | None = None,
        metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> AsyncIterator[ClientCall[MessageT]]:
        """For calls that stream requests: ``send`` them, ``end``, iterate, in any order.

        Waits while the server's limit of concurrent calls is reached.

        Cancellation: minimum cleanup; C1, C3.
        """
        deadline = math.inf if timeout_s is None else trio.current_time() + timeout_s
        headers = request_headers(
            f"/{service}/{method}", self._authority, timeout_s, metadata, USER_AGENT
        )
        stream = None
        # Scope K2.open.
        with trio.move_on_at(deadline):
            stream = await self._link.open(headers)
        if stream is None:
            raise deadline_exceeded()
        try:
            yield ClientCall(self._link, stream, response_type, deadline)
        finally:
            self._link.close(stream)


@uninterrupted_context
@asynccontextmanager
async def open_channel(
    host: str,
    port: int,
    ssl_context: ssl.SSLContext,
    *,
    server_hostname: str | None = None,
    refusal: Callable[[bytes], str | None] = lambda certificate: None,
    connect_timeout_s: float = 10.0,
    limits: Limits = CLIENT_DEFAULTS,
) -> AsyncIterator[Channel]:
    """A channel, once the server has accepted this client's certificate and speaks HTTP/2.

    ``server_hostname`` (default ``host``) is the name that the server's certificate must have, if
    ``ssl_context`` checks names, and that the server is asked for. ``refusal`` is asked about the
    server's certificate (DER) before anything of ours is sent, and says why it is refused.
    Raises HandshakeFailed when either side rejects TLS, and ConnectionLost when the server cannot
    be reached within ``connect_timeout_s`` for any other reason. It makes one attempt; the error's
    ``may_pass`` says whether another one may succeed. Leaving the block ends all calls of the
    channel; minimum cleanup.

    Cancellation: minimum cleanup; C2.
    """
    # Without the dot that makes a DNS name absolute, which neither a certificate nor SNI has
    # (RFC 6066 3).
    name = (server_hostname or host).removesuffix(".")
    started = trio.current_time()
    transport = None
    # Scope K1.connect.
    with trio.move_on_after(connect_timeout_s):
        transport = await dial(host, port, ssl_context, name, refusal, limits)
    if transport is None:
        raise too_slow_for(host, port, connect_timeout_s)
    authority = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    too_slow = too_slow_for(host, port, connect_timeout_s)
    async with _channel(
        transport, authority, started + connect_timeout_s, too_slow, limits
    ) as channel:
        yield channel


def open_channel_on(
    transport: Transport,
    authority: str,
    *,
    connect_timeout_s: float = 10.0,
    limits: Limits = CLIENT_DEFAULTS,
) -> AbstractAsyncContextManager[Channel]:
    """As ``open_channel``, on a transport whose handshake is done; leaving the block closes it."""
    too_slow = ConnectionLost(f"{authority}: no connection within {connect_timeout_s:g} s")
    deadline = trio.current_time() + connect_timeout_s
    return _channel(transport, authority, deadline, too_slow, limits)


@uninterrupted_context
@asynccontextmanager
async def _channel(
    transport: Transport,
    authority: str,
    deadline: float,
    too_slow: ConnectionLost,
    limits: Limits,
) -> AsyncIterator[Channel]:
    errors = PlainErrors()
    try:
        link = ClientConnection(transport, limits)
        with errors.outside():
            # Scope K1.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.run)
                with errors.inside():
                    # Scope K1.ready.
                    with trio.move_on_at(deadline) as waiting:
                        await link.wait_ready()
                    if waiting.cancelled_caught:
                        raise too_slow
                    yield Channel(link, authority)
                # Cancels K1.
                nursery.cancel_scope.cancel()
            link.say_goodbye()
    finally:
        transport.close()
