"""One suite for the simulated network and for TLS over TCP: what a Transport promises.

What only TLS has (handshakes, records) is in test_transport.py.
"""

import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
import trio.testing
from machines.network import Network
from machines.process import Faults, Process
from patience import patient
from pki import shared_pki

from penstock.rpc.limits import SERVER_DEFAULTS
from penstock.rpc.tls.transport import TlsTransport
from penstock.rpc.tls.transport_interface import Transport, TransportLost, WriteStalled

# More than socket buffers and a simulated way hold.
MUCH = bytes(range(256)) * 4096 * 64
STALL_S = 0.2
LONG_S = patient(30)


@dataclass(frozen=True)
class Pair:
    """Both ends. ``break_off`` makes the client's end vanish without a goodbye."""

    server: Transport
    client: Transport
    break_off: Callable[[], object]


@asynccontextmanager
async def over_tls() -> AsyncIterator[Pair]:
    pki = shared_pki()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        theirs = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        ours = await listener.accept()
    near = socket.socket(fileno=theirs.socket.detach())
    far = socket.socket(fileno=ours.socket.detach())
    client = TlsTransport(
        near,
        pki.client_context(),
        SERVER_DEFAULTS,
        server_side=False,
        server_hostname="localhost",
    )
    server = TlsTransport(far, pki.server_context(), SERVER_DEFAULTS, server_side=True)

    def reset() -> None:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.handshake, trio.Lock())
            await server.handshake(trio.Lock())
        yield Pair(server, client, reset)
    finally:
        client.close()
        server.close()


@asynccontextmanager
async def in_memory() -> AsyncIterator[Pair]:
    network = Network(0.0)
    async with trio.open_nursery() as nursery:
        give, take = trio.open_memory_channel[Transport](1)

        async def accept(transport: Transport, address: str) -> None:
            await give.send(transport)

        network.listen(Process(0, Faults()), nursery, accept)
        client = await network.connect("alice")
        server = await take.receive()
        try:
            yield Pair(server, client, network.cut)
        finally:
            client.close()
            server.close()


Kind = Callable[[], AbstractAsyncContextManager[Pair]]
KINDS = {"tls": over_tls, "simulated": in_memory}


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@asynccontextmanager
async def connected(kind: Kind) -> AsyncIterator[Pair]:
    """In the test's own task: what it raises is not wrapped."""
    with trio.fail_after(LONG_S):
        async with kind() as pair:
            yield pair


async def receive_exactly(transport: Transport, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = await transport.receive()
        assert piece
        data += piece
    return data


async def test_bytes_arrive_in_order_both_ways(kind: Kind) -> None:
    async with connected(kind) as pair, trio.open_nursery() as nursery:
        for sender, receiver in ((pair.server, pair.client), (pair.client, pair.server)):
            parts: list[Any] = [b"a", bytearray(b"b"), memoryview(MUCH[:300_000])]
            nursery.start_soon(sender.send, parts, 5)
            assert await receive_exactly(receiver, 300_002) == b"ab" + MUCH[:300_000]


async def test_a_read_gives_at_most_a_record(kind: Kind) -> None:
    async with connected(kind) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(pair.client.send, [MUCH[:100_000]], 5)
        count = 0
        while count < 100_000:
            data = await pair.server.receive()
            assert 0 < len(data) <= 16_384
            count += len(data)


async def test_the_server_knows_the_client_by_its_certificate(kind: Kind) -> None:
    async with connected(kind) as pair:
        assert pair.server.peer_certificate()


async def test_after_a_close_what_was_sent_is_there_and_then_the_end(kind: Kind) -> None:
    async with connected(kind) as pair:
        await pair.client.send([b"last words"], 5)
        pair.client.close()
        pair.client.close()
        assert await receive_exactly(pair.server, 10) == b"last words"
        assert await pair.server.receive() == b""


async def test_a_peer_that_breaks_off_is_lost_to_who_reads(kind: Kind) -> None:
    async with connected(kind) as pair:
        pair.break_off()
        with pytest.raises(TransportLost):
            await pair.server.receive()


async def test_a_peer_that_breaks_off_is_lost_to_who_writes(kind: Kind) -> None:
    async with connected(kind) as pair:
        pair.break_off()

        async def write_on() -> None:
            while True:
                await pair.server.send([b"hello?"], 5)
                await trio.lowlevel.checkpoint()

        with pytest.raises(TransportLost):
            await write_on()


async def test_a_peer_that_does_not_read_stalls_the_writer(kind: Kind) -> None:
    async with connected(kind) as pair:
        with pytest.raises(WriteStalled):
            await pair.server.send([MUCH], STALL_S)


async def test_a_slow_reader_is_waited_for_and_gets_all(kind: Kind) -> None:
    async with connected(kind) as pair, trio.open_nursery() as nursery:
        sent = trio.Event()

        async def send() -> None:
            await pair.server.send([MUCH[:16_000_000]], LONG_S)
            sent.set()

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not sent.is_set()
        count = 0
        while count < 16_000_000:
            count += len(await pair.client.receive())
        await sent.wait()


async def test_a_cancelled_receive_loses_nothing(kind: Kind) -> None:
    async with connected(kind) as pair:
        for number in range(20):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def receive() -> None:
                        await pair.server.receive()
                        raise AssertionError("nothing was sent")

                    nursery.start_soon(receive)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            await pair.client.send([bytes([number])], 5)
            assert await pair.server.receive() == bytes([number])


async def test_closing_wakes_who_waits(kind: Kind) -> None:
    async with connected(kind) as pair:
        heard: list[Any] = []

        async def receive() -> None:
            try:
                heard.append(await pair.server.receive())
            except (TransportLost, trio.ClosedResourceError) as error:
                heard.append(type(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            pair.server.close()
        assert heard == [trio.ClosedResourceError]


async def test_last_words_do_not_wait(kind: Kind) -> None:
    """As much as fits; to a peer that is gone none, and nothing is raised."""
    async with connected(kind) as pair:
        pair.server.send_nowait(b"goodbye")
        assert await receive_exactly(pair.client, 7) == b"goodbye"
        pair.break_off()
        for _ in range(3):
            pair.server.send_nowait(b"nobody hears this")
            await trio.lowlevel.checkpoint()


async def test_lingering_ends_when_the_peer_has_ended(kind: Kind) -> None:
    """The peer reads what was sent before, though it has sent what nobody reads."""
    async with connected(kind) as pair:
        await pair.client.send([b"unread"], 5)
        await pair.server.send([b"the answer"], 5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.server.linger)
            assert await receive_exactly(pair.client, 10) == b"the answer"
            with contextlib.suppress(TransportLost):
                assert await pair.client.receive() == b""
            pair.client.close()


async def test_lingering_can_be_cancelled(kind: Kind) -> None:
    async with connected(kind) as pair:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.server.linger)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
