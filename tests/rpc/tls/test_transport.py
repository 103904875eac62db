"""TLS by hostile hands: what one step may cost, and when the connection ends."""

import contextlib
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from patience import patient
from pki import shared_pki
from tls_by_hand import Writer, agreed, hello_in_pieces
from toy import Running, changed, serving

from penstock.rpc.limits import SERVER_DEFAULTS, Rate
from penstock.rpc.tls.record_counter import RECORDS_A_STEP, RecordCounter
from penstock.rpc.tls.transport import TlsTransport
from penstock.rpc.tls.transport_interface import TransportLost


def record(size: int) -> bytes:
    return b"\x17\x03\x03" + size.to_bytes(2, "big") + bytes(size)


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(0))
def test_records_are_counted_however_they_are_cut(sizes: list[int], seed: int) -> None:
    """Each once, when its last byte is there, and never more than a step's at a time."""
    data = b"".join(map(record, sizes))
    counter, cut = RecordCounter(), random.Random(seed)
    complete = position = 0
    while position < len(data):
        piece = data[position : position + cut.choice((1, 3, 7, 400, 5_000))]
        begin = 0
        while begin < len(piece):
            end, records = counter.take(piece, begin)
            assert begin < end <= len(piece)
            assert records <= RECORDS_A_STEP
            begin, complete = end, complete + records
            done = position + begin
            whole = [sum(5 + size for size in sizes[: n + 1]) for n in range(len(sizes))]
            assert complete == sum(end <= done for end in whole)
        position += len(piece)
    assert complete == len(sizes)


@asynccontextmanager
async def against(
    *, server_side: bool, writing: trio.Lock | None = None, **limits: Any
) -> AsyncIterator[tuple[TlsTransport, trio.SocketStream, Writer]]:
    """Our transport on ``server_side``, its peer's TCP stream and what writes its records."""
    pki = shared_pki()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        theirs = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        accepted = await listener.accept()
    transport = TlsTransport(
        socket.socket(fileno=accepted.socket.detach()),
        pki.server_context() if server_side else pki.client_context(),
        changed(**limits),
        server_side=server_side,
        server_hostname=None if server_side else "localhost",
        writing=writing,
    )
    context = pki.client_context() if server_side else pki.server_context()
    found: list[Writer] = []

    async def agree() -> None:
        found.append(await agreed(theirs, context, server_side=not server_side))

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agree)
            await transport.handshake(trio.Lock())
        yield transport, theirs, found[0]
    finally:
        transport.close()
        await theirs.aclose()


async def read_on(transport: TlsTransport, heard: list[bytes]) -> None:
    """Until something ends it."""
    while True:
        heard.append(await transport.receive())


async def send_hello_in_pieces(running: Running) -> None:
    """131,000 bytes in as many records; returns when the server has closed."""
    async with await trio.open_tcp_stream("127.0.0.1", running.port) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(hello_in_pieces(131_000))
            while await stream.receive_some():
                pass


@pytest.mark.parametrize("server_side", [True, False])
async def test_a_flood_of_key_updates_is_ended(server_side: bool) -> None:
    """After as many as the budget has, and others had their turn every few of them."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    limits: dict[str, Any] = {"silent_records": Rate(100, 0.0)}
    async with against(server_side=server_side, **limits) as (transport, theirs, writer):
        await theirs.send_all(b"".join(writer.key_update() for _ in range(1_000)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            with pytest.raises(TransportLost) as caught:
                await read_on(transport, [])
            nursery.cancel_scope.cancel()
        assert caught.value.kind == "tls_records"
        assert turns >= 100 // RECORDS_A_STEP - 1


async def test_data_between_key_updates_is_no_excuse() -> None:
    """What is counted is the records without data, not those in a row."""
    limits: dict[str, Any] = {"silent_records": Rate(100, 0.0)}
    async with against(server_side=True, **limits) as (transport, theirs, writer):
        flood = [writer.record(b"x") if n % 5 == 0 else writer.key_update() for n in range(500)]
        await theirs.send_all(b"".join(flood))
        heard: list[bytes] = []
        with pytest.raises(TransportLost) as caught:
            await read_on(transport, heard)
        assert caught.value.kind == "tls_records"
        assert len(heard) <= 30


async def test_key_updates_are_allowed() -> None:
    """A few, and asked to answer with our own; data goes on in both directions."""
    async with against(server_side=True) as (transport, theirs, writer):
        for ask in (False, True, True):
            await theirs.send_all(writer.key_update(ask=ask) + writer.record(b"on"))
            assert await transport.receive() == b"on"
        await transport.send([b"and on"], 1.0)
        assert await theirs.receive_some()


async def test_data_is_bounded_by_records_not_bytes() -> None:
    """Many records of a byte cost no budget; each is one read."""
    async with against(server_side=True, silent_records=Rate(1, 0.0)) as (
        transport,
        theirs,
        writer,
    ):
        await theirs.send_all(b"".join(writer.record(b"x") for _ in range(500)))
        for _ in range(500):
            assert await transport.receive() == b"x"


async def test_a_handshake_without_end_is_ended() -> None:
    """Refused at the limit, and counted."""
    async with serving(shared_pki()) as running:
        await send_hello_in_pieces(running)
        assert running.server.statistics().refused == {"handshake_bytes": 1}


async def test_a_step_of_a_handshake_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much a client sends at once, OpenSSL is given a few KiB between two turns."""
    given_bytes: list[int] = []
    original = TlsTransport._receive

    async def receive(self: TlsTransport, most: int) -> None:
        await original(self, most)
        given_bytes.append(len(self._received))

    monkeypatch.setattr(TlsTransport, "_receive", receive)
    async with serving(shared_pki()) as running:
        await send_hello_in_pieces(running)
    assert max(given_bytes) <= 4_096
    assert sum(given_bytes) <= SERVER_DEFAULTS.handshake_bytes + 4_096


async def test_who_writes_much_waits_for_its_turn() -> None:
    """All connections of a server have one turn at a time; who writes little needs none."""
    writing = trio.Lock()
    async with (
        against(server_side=True, writing=writing) as (much, reader, _),
        against(server_side=True, writing=writing) as (little, _, _),
    ):
        with trio.fail_after(patient(10)):
            async with writing, trio.open_nursery() as nursery:
                nursery.start_soon(much.send, [bytes(300_000)], 5.0)
                await trio.testing.wait_all_tasks_blocked()
                assert writing.statistics().tasks_waiting == 1
                before = len(await reader.receive_some(300_000))
                await little.send([bytes(1_000)], 5.0)
                assert writing.statistics().tasks_waiting == 1
                writing.release()
                while before < 300_000:
                    before += len(await reader.receive_some(300_000))
                await writing.acquire()
