"""A gRPC channel: many calls on one connection, for a client with a certificate.

A channel is one connection and never reconnects: when it is lost, every call on it fails
with ConnectionLost, and the caller, who knows which calls may be repeated, opens another.
"""

import errno
import math
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Generic, TypeVar

import trio
from google.protobuf.message import DecodeError, Message

from ..concurrency.interrupts import uninterrupted_context, uninterrupted_methods
from ..concurrency.plain_errors import PlainErrors
from .call_errors import ConnectionLost, HandshakeFailed, RpcError, StatusCode
from .client_connection import ClientConnection, ClientStream
from .limits import CLIENT_DEFAULTS, Limits
from .message_stream import SendStalled, StreamClosed
from .metadata import request_headers
from .tls.transport import TlsTransport, Transport, TransportLost

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
# A server that is down for now, or was killed as we came: tcp(7), connect(2).
_PASSING: Final = frozenset((errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE))

MessageT = TypeVar("MessageT", bound=Message)


@uninterrupted_methods
class ClientCall(Generic[MessageT]):
    """A call under way: an async iterator of its responses, which may be sent to as well.

    One task may iterate while another sends.
    """

    def __init__(
        self,
        link: ClientConnection,
        stream: ClientStream,
        response_type: type[MessageT],
        deadline: float,
    ) -> None:
        self._link = link
        self._stream = stream
        self._type = response_type
        self._deadline = deadline

    async def send(self, message: Message) -> bool:
        """Waits for the server's windows. False: the server has ended the call already, and
        iterating tells how. Raises RpcError; cancelled: the call can only be left.

        No checkpoint in most calls that need not wait: see Stream.send.

        Cancellation: minimum cleanup; C3.
        """
        try:
            # Scope K2.send.
            with trio.move_on_at(self._deadline):
                await self._stream.send(message.SerializeToString())
                return True
        except StreamClosed:
            return False
        except SendStalled:
            raise RpcError(
                StatusCode.UNAVAILABLE, "the server does not read what is sent to it"
            ) from None
        raise _deadline_exceeded()

    def end(self) -> None:
        """No more messages will be sent. Idempotent."""
        self._link.connection.end_stream(self._stream.id)
        self._link.wake()

    def __aiter__(self) -> "ClientCall[MessageT]":
        return self

    async def __anext__(self) -> MessageT:
        """Raises RpcError: the server's status, the deadline, or the connection's end.

        No checkpoint in most calls that find a message: see Stream.receive.

        Cancellation: atomic; C3.
        """
        # Scope K2.receive.
        with trio.move_on_at(self._deadline):
            data = await self._stream.receive()
            if data is None:
                raise StopAsyncIteration
            return _parsed(self._type, data)
        raise _deadline_exceeded()

    async def only_response(self) -> MessageT:
        """The one response of a unary or client-streaming call. Raises RpcError.

        Cancellation: minimum cleanup.
        """
        first: MessageT | None = None
        async for message in self:
            if first is not None:
                raise RpcError(StatusCode.INTERNAL, "the server sent a second response")
            first = message
        if first is None:
            raise RpcError(StatusCode.INTERNAL, "the server sent no response")
        return first


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
        """Whether new calls have a chance: neither lost nor going away."""
        return self._link.unusable is None

    async def wait_unusable(self) -> None:
        """Returns when the connection is lost or the server is going away.

        Cancellation: atomic; C2.
        """
        await self._link.became_unusable.wait()

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
        """Cancelled: the call is reset; whether it has had its effect is unknown.

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
        """``async with`` it, then iterate. What is not read holds the server back.

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
            raise _deadline_exceeded()
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
    connect_timeout_s: float = 10.0,
    limits: Limits = CLIENT_DEFAULTS,
) -> AsyncIterator[Channel]:
    """A channel, once the server has accepted our certificate and speaks HTTP/2.

    ``server_hostname`` (default ``host``) is the name that the server's certificate must
    have. Raises HandshakeFailed when TLS is refused by either side, ConnectionLost for
    everything else that keeps us from the server within ``connect_timeout_s``. One attempt:
    ``may_pass`` of the error says whether another is worth while. Leaving it ends all its calls;
    minimum cleanup.

    Cancellation: minimum cleanup; C2.
    """
    name = server_hostname or host
    started = trio.current_time()
    transport = None
    # Scope K1.connect.
    with trio.move_on_after(connect_timeout_s):
        transport = await _connect(host, port, ssl_context, name, limits)
    if transport is None:
        raise _too_slow(host, port, connect_timeout_s)
    authority = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    too_slow = _too_slow(host, port, connect_timeout_s)
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
    """As ``open_channel``, on a connection whose handshake is done; it is closed in the end."""
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


async def _connect(
    host: str, port: int, ssl_context: ssl.SSLContext, server_hostname: str, limits: Limits
) -> TlsTransport:
    """Connected and agreed on TLS. Cancelled: nothing is left open."""
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise _not_connected(f"{host} port {port}", error) from error
    raw = socket.socket(fileno=stream.socket.detach())
    transport = None
    done = False
    try:
        transport = TlsTransport(
            raw, ssl_context, limits, server_side=False, server_hostname=server_hostname
        )
        await transport.handshake(trio.Lock())
        done = True
    except TransportLost as error:
        kind = HandshakeFailed if error.during_tls else ConnectionLost
        raise kind(f"{host} port {port}: {error}", may_pass=_was_cut(error)) from error
    finally:
        if transport is not None and not done:
            transport.close()
    return transport


def _was_cut(error: TransportLost) -> bool:
    """Whether the connection just ended in the middle of the handshake; a refusal is an alert."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError):
        return isinstance(cause, ssl.SSLZeroReturnError | ssl.SSLEOFError)
    if cause is None:
        return error.kind == "lost" and not error.during_tls
    return isinstance(cause, OSError) and cause.errno in _PASSING


def _not_connected(where: str, error: OSError) -> ConnectionLost:
    """Trio keeps what each address said in the cause: the first is told, and whether any of them
    is one at which a server may come up."""
    causes: list[BaseException] = [error.__cause__ or error]
    found: list[OSError] = []
    while causes:
        cause = causes.pop(0)
        if isinstance(cause, BaseExceptionGroup):
            causes += cause.exceptions
        elif isinstance(cause, OSError):
            found.append(cause)
    first = found[0] if found else error
    may_pass = any(each.errno in _PASSING for each in found)
    # Trio's own text names the address again; that of a resolver is no errno's.
    text = first.strerror or str(first)
    if first.errno is not None and not isinstance(first, socket.gaierror):
        text = os.strerror(first.errno)
    return ConnectionLost(f"{where}: {text}", may_pass=may_pass)


def _too_slow(host: str, port: int, timeout_s: float) -> ConnectionLost:
    return ConnectionLost(f"{host} port {port}: no connection within {timeout_s:g} s")


def _deadline_exceeded() -> RpcError:
    return RpcError(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")


def _parsed(response_type: type[MessageT], data: bytes) -> MessageT:
    try:
        return response_type.FromString(data)
    except DecodeError:
        name = response_type.DESCRIPTOR.full_name
        raise RpcError(StatusCode.INTERNAL, f"the response is not a {name}") from None
