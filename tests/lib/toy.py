"""A small service with all four kinds of call, and a server that runs it."""

import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import purerpc
import trio
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from google.rpc.error_details_pb2 import ErrorInfo
from pki import Pair, Pki

from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.channel import Channel, open_channel
from penstock.rpc.grpc_server import Peer, Server
from penstock.rpc.limits import MIB, SERVER_DEFAULTS, Limits, MessageLimits
from penstock.rpc.server_call import Admit

SERVICE = "toy.Toy"
CHUNK = b"\xa5" * 65_536


class Toy:
    """Handlers with what tests look at: events, counts and the contexts of calls."""

    def __init__(self) -> None:
        self.started = trio.Event()
        self.ended = trio.Event()
        self.running = 0
        self.most_running = 0
        self.sent_chunks = 0
        self.contexts: list[Any] = []
        self.release = trio.Event()
        self.failure: BaseException = ValueError("none was set")
        """What ``Raise`` raises."""

    async def echo(self, message: BytesValue, request: Any) -> BytesValue:
        self.contexts.append(request.context)
        return message

    async def count(self, message: Int64Value, request: Any) -> AsyncIterator[Int64Value]:
        for number in range(message.value):
            yield Int64Value(value=number)

    async def total(self, messages: AsyncIterator[Int64Value], request: Any) -> Int64Value:
        total = 0
        async for message in messages:
            total += message.value
        return Int64Value(value=total)

    async def total_later(self, messages: AsyncIterator[Int64Value], request: Any) -> Int64Value:
        """Reads nothing before ``release``."""
        await self.release.wait()
        return await self.total(messages, request)

    async def both(
        self, messages: AsyncIterator[Int64Value], request: Any
    ) -> AsyncIterator[Int64Value]:
        async for message in messages:
            yield message

    async def fail(self, message: StringValue, request: Any) -> StringValue:
        """With that code, and the text behind a colon if there is one."""
        code, _, text = message.value.partition(":")
        raise RpcError(
            StatusCode[code],
            text or "50% of naïve\nclients",
            (ErrorInfo(reason="TOY", domain="test", metadata={"key": "value"}),),
        )

    async def fail_late(self, message: StringValue, request: Any) -> AsyncIterator[StringValue]:
        yield message
        raise RpcError(StatusCode[message.value], "after a message")

    async def bug(self, message: StringValue, request: Any) -> StringValue:
        raise ValueError("the secret text of a bug")

    async def raise_(self, message: StringValue, request: Any) -> StringValue:
        raise self.failure

    async def wait(self, message: StringValue, request: Any) -> StringValue:
        """Until ``release`` or cancelled."""
        self._begin()
        try:
            await self.release.wait()
        finally:
            self._end()
        return message

    async def wait_after_one(
        self, message: StringValue, request: Any
    ) -> AsyncIterator[StringValue]:
        self._begin()
        try:
            yield message
            await self.release.wait()
        finally:
            self._end()

    async def flood(self, message: Int64Value, request: Any) -> AsyncIterator[BytesValue]:
        """Chunks without ever waiting by itself; 0 is without end."""
        self._begin()
        try:
            chunk = BytesValue(value=CHUNK)
            while not message.value or self.sent_chunks < message.value:
                self.sent_chunks += 1
                yield chunk
        finally:
            self._end()

    def _begin(self) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.started.set()

    def _end(self) -> None:
        self.running -= 1
        self.ended.set()

    @property
    def service(self) -> purerpc.Service:
        kinds = purerpc.Cardinality
        service = purerpc.Service(SERVICE)
        for name, function, kind, request, response in (
            ("Echo", self.echo, kinds.UNARY_UNARY, BytesValue, BytesValue),
            ("Count", self.count, kinds.UNARY_STREAM, Int64Value, Int64Value),
            ("Total", self.total, kinds.STREAM_UNARY, Int64Value, Int64Value),
            ("TotalLater", self.total_later, kinds.STREAM_UNARY, Int64Value, Int64Value),
            ("Both", self.both, kinds.STREAM_STREAM, Int64Value, Int64Value),
            ("Fail", self.fail, kinds.UNARY_UNARY, StringValue, StringValue),
            ("FailLate", self.fail_late, kinds.UNARY_STREAM, StringValue, StringValue),
            ("Bug", self.bug, kinds.UNARY_UNARY, StringValue, StringValue),
            ("Raise", self.raise_, kinds.UNARY_UNARY, StringValue, StringValue),
            ("Wait", self.wait, kinds.UNARY_UNARY, StringValue, StringValue),
            ("WaitAfterOne", self.wait_after_one, kinds.UNARY_STREAM, StringValue, StringValue),
            ("Flood", self.flood, kinds.UNARY_STREAM, Int64Value, BytesValue),
        ):
            service.add_method(name, function, purerpc.RPCSignature(kind, request, response))
        return service


@dataclass
class Running:
    """A server that serves ``toy``; ``errors`` are what its handlers' bugs raised."""

    server: Server
    toy: Toy
    port: int
    pki: Pki
    stop: trio.CancelScope
    """Cancelling it breaks the server's connections."""
    listener: trio.SocketListener
    errors: list[tuple[str, BaseException]] = field(default_factory=list)
    refused_certificates: list[tuple[str, str, str]] = field(default_factory=list)

    def channel(
        self, who: str | Pair = "alice", **options: Any
    ) -> AbstractAsyncContextManager[Channel]:
        return open_channel("127.0.0.1", self.port, self.pki.client_context(who), **options)


@asynccontextmanager
async def serving(
    pki: Pki,
    *,
    identify: Callable[[Peer], Any] | None = None,
    client_of: Callable[[Any], Any] | None = None,
    admit: Admit = lambda identity, service, method: None,
    message_limits: Mapping[str, MessageLimits] | None = None,
    on_internal_error: Callable[[str, BaseException], None] | None = None,
    reflection: bool = False,
    send_buffer_bytes: int | None = None,
    receive_buffer_bytes: int | None = None,
    **limits: Any,
) -> AsyncIterator[Running]:
    """Leaving it breaks all connections."""
    toy = Toy()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    if send_buffer_bytes is not None:
        listeners[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    if receive_buffer_bytes is not None:
        listeners[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    running: Running
    server = Server(
        [toy.service],
        pki.server_context(),
        limits=changed(**limits),
        identify=identify,
        client_of=client_of,
        admit=admit,
        message_limits=message_limits,
        reflection=reflection,
        on_internal_error=on_internal_error
        or (lambda error_id, error: running.errors.append((error_id, error))),
        on_certificate_refused=lambda *why: running.refused_certificates.append(why),
    )
    async with trio.open_nursery() as nursery:
        port = listeners[0].socket.getsockname()[1]
        running = Running(server, toy, port, pki, trio.CancelScope(), listeners[0])

        async def serve(task_status: trio.TaskStatus[None]) -> None:  # noqa: ASYNC128 - the server tells
            with running.stop:
                await server.serve(listeners, task_status=task_status)

        await nursery.start(serve)
        yield running
        running.stop.cancel()


def changed(**limits: Any) -> Limits:
    """The server's defaults, except for; its methods take messages of any size."""
    return SERVER_DEFAULTS._replace(**{"message_bytes": 4 * MIB, **limits})
