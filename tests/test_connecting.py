"""A first connection: what is tried for again and for how long, and what is not."""

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_service import HANDLE, FakeServer, FakeService, fake_server
from patience import slowness
from ports import reserved_port

from penstock.client import Endpoint, connect
from penstock.client.repeated_calls import ask
from penstock.proto import command_pb2 as pb
from penstock.rpc import channel as rpc_client
from penstock.rpc.call_errors import ConnectionLost, HandshakeFailed, RpcError, StatusCode
from penstock.rpc.dialing import dial
from penstock.server.error_status import retryable


def endpoint(server: FakeServer, port: int | None = None) -> Endpoint:
    pair = server.pki.clients["alice"]
    at = server.port if port is None else port
    return Endpoint("127.0.0.1", at, server.pki.ca, pair.certificate, pair.key)


async def refuse(first: trio.SocketStream) -> None:
    """Reset before a byte is read."""
    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await first.aclose()


async def cut(first: trio.SocketStream) -> None:
    """An end in the middle of TLS's handshake."""
    await first.receive_some(5)
    with trio.CancelScope(shield=True):
        await first.send_eof()
        async for _ in first:
            pass
    await first.aclose()


@asynccontextmanager
async def answering(
    server: FakeServer, answers: list[Callable[[trio.SocketStream], Awaitable[None]]]
) -> AsyncIterator[int]:
    """A port whose first connections have these answers; then ``server`` is behind it."""

    async def serve(stream: trio.SocketStream) -> None:
        if answers:
            await answers.pop(0)(stream)
            return
        there = await trio.open_tcp_stream("127.0.0.1", server.port)
        async with trio.open_nursery() as both:
            both.start_soon(pass_on, stream, there)
            both.start_soon(pass_on, there, stream)

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, [listener])
        yield int(listener.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


async def pass_on(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    async with source, sink:
        try:
            async for data in source:
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


async def test_a_first_connection_is_tried_for_again() -> None:
    """C30: reset, cut off in TLS; and refused, until there is a server."""
    async with fake_server() as server, answering(server, [refuse, cut, refuse]) as port:
        async with connect(endpoint(server, port)) as client:
            assert (await client.wait(HANDLE)).handle == HANDLE
        server.break_connections()
        tried = 0

        async def third_attempt_finds_one(*arguments: Any, **options: Any) -> Any:
            nonlocal tried
            tried += 1
            if tried == 3:
                await server.serve()
            return await opened(*arguments, **options)

        opened = trio.open_tcp_stream
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(trio, "open_tcp_stream", third_attempt_finds_one)
            async with connect(endpoint(server)) as client:
                assert (await client.wait(HANDLE)).handle == HANDLE
        assert tried == 3


async def test_a_server_that_goes_away_sends_its_clients_to_the_next() -> None:
    """C30, C34: GOAWAY in its first words, as from one that drains."""
    async with fake_server() as server:
        connected = dial
        drained = False

        async def drain_after_handshake(*arguments: Any, **options: Any) -> Any:
            nonlocal drained
            transport = await connected(*arguments, **options)
            if not drained:
                drained = True
                server.restart()
            return transport

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(rpc_client, "dial", drain_after_handshake)
            async with connect(endpoint(server)) as client:
                assert (await client.wait(HANDLE)).handle == HANDLE
        assert drained


@pytest.mark.parametrize("timeout_s", [0.0, 0.2])
async def test_a_server_that_stays_away_is_given_up(timeout_s: float) -> None:
    """C30: after the time, which is said; with none it is tried for once."""
    with reserved_port() as port:
        async with fake_server() as server:
            begin = trio.current_time()
            with pytest.raises(ConnectionLost, match="Connection refused") as caught:
                async with connect(endpoint(server, port), connect_timeout_s=timeout_s):
                    pass
            took = trio.current_time() - begin
    notes = getattr(caught.value, "__notes__", [])
    assert notes == ([f"tried for {timeout_s:g} s"] if timeout_s else [])
    assert timeout_s <= took < timeout_s + 1.5 * slowness()


async def test_one_that_takes_connections_and_says_nothing_is_given_up() -> None:
    """As penstockd's port is while no server comes up: the time bounds that, too."""
    async with fake_server() as server:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            there = endpoint(server, silent.getsockname()[1])
            with pytest.raises(ConnectionLost, match=r"no connection within 0\.2 s"):
                async with connect(there, connect_timeout_s=0.2):
                    pass


class NoName(trio.abc.HostnameResolver):
    """Knows nobody."""

    async def getaddrinfo(self, *_: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise NotImplementedError


@pytest.mark.parametrize("what", ["name", "their CA", "our CA", "route", "quota"])
async def test_what_does_not_pass_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """C30: nothing would have changed. Each fails at its first attempt."""
    attempts = 0
    opened = trio.open_tcp_stream

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal attempts
        attempts += 1
        if what == "route":
            raise OSError("all attempts failed") from ExceptionGroup(
                "all", [OSError(101, "Network is unreachable")]
            )
        return await opened(*arguments, **options)

    monkeypatch.setattr(trio, "open_tcp_stream", counted)
    async with fake_server(connections_per_client=1) as server:
        there = endpoint(server)
        other = server.pki.other_authority.certificate
        if what == "name":
            trio.socket.set_custom_hostname_resolver(NoName())
            there = Endpoint("no.example", 1, there.ca, there.certificate, there.key)
        elif what == "their CA":
            there = Endpoint("127.0.0.1", server.port, other, there.certificate, there.key)
        elif what == "our CA":
            pair = server.pki.other_authority.issue("mallory", "mallory")
            there = Endpoint("127.0.0.1", server.port, there.ca, pair.certificate, pair.key)
        elif what == "quota":
            async with connect(there):
                attempts = 0
                with pytest.raises(ConnectionLost, match="too many connections of this client"):
                    async with connect(there):
                        pass
        if what != "quota":
            kind = HandshakeFailed if "CA" in what else ConnectionLost
            with pytest.raises(kind):
                async with connect(there):
                    pass
    assert attempts == 1


@pytest.mark.parametrize("time_s", [-1.0, float("nan")])
async def test_a_time_that_is_none_is_refused(time_s: float) -> None:
    """Before any file is read."""
    nowhere = Endpoint("127.0.0.1", 1, Path("no"), Path("no"), Path("no"))
    with pytest.raises(ValueError, match="must be at least 0"):
        async with connect(nowhere, connect_timeout_s=time_s):
            pass


async def test_what_the_body_raises_is_its_own() -> None:
    """Also where it looks like a first connection that was refused."""
    async with fake_server() as server:
        entered = 0

        async def use() -> None:
            nonlocal entered
            async with connect(endpoint(server)):
                entered += 1
                raise ConnectionLost("of another server", may_pass=True)

        with pytest.raises(ConnectionLost):
            await use()
    assert entered == 1


async def test_a_call_is_repeated_only_as_far_as_it_may_be() -> None:
    """What reads after any loss; anything else only where the server has not begun it."""
    service = FakeService()
    async with fake_server(service) as server:
        there = endpoint(server)
        asked = 0

        async def lost_once(client: Any) -> pb.Job:
            nonlocal asked
            asked += 1
            if asked == 1:
                raise error
            job: pb.Job = await client.wait(HANDLE)
            return job

        error: RpcError = ConnectionLost("gone")
        assert (await ask(there, lost_once, repeatable=True)).handle == HANDLE
        asked = 0
        with pytest.raises(ConnectionLost):
            await ask(there, lost_once, repeatable=False)
        asked, error = 0, ConnectionLost("gone", not_begun=True)
        assert (await ask(there, lost_once, repeatable=False)).handle == HANDLE
        asked, error = 0, retryable(StatusCode.UNAVAILABLE, "NOT_RECORDED", "later", 1.0)
        with pytest.raises(RpcError, match="later"):
            await ask(there, lost_once, repeatable=True)


async def test_a_server_that_answers_so_each_time_is_given_up() -> None:
    """To be connected is no progress."""
    async with fake_server() as server:
        asked = 0

        async def refused(client: Any) -> None:
            nonlocal asked
            asked += 1
            raise RpcError(StatusCode.UNAVAILABLE, "the server is shutting down")

        with pytest.raises(RpcError, match="shutting down"):
            await ask(endpoint(server), refused, repeatable=True, give_up_s=0.3)
    assert asked > 1
