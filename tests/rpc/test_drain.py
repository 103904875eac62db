"""The end of a connection: what is still said, to whom, and for how long."""

from typing import Any

import pytest
import trio
import trio.testing
from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame
from patience import patient, slowness
from pki import shared_pki
from raw import GRPC_HEADERS, PREFACE, message
from toy import CHUNK, Running, serving
from wire import Wire, connected, data, settings, window

from penstock.rpc.call_errors import ConnectionLost
from penstock.rpc.channel import open_channel
from penstock.rpc.grpc_server import Server
from penstock.rpc.http2.connection import HIGHEST_STREAM_ID
from penstock.rpc.http2.protocol_errors import NO_ERROR
from penstock.rpc.tls import acceptor
from penstock.rpc.tls.transport import TlsTransport

_ARRIVALS = 60
FOUR = message(b"\x08\x04")  # an Int64Value of 4


async def no_calls(running: Running) -> None:
    while running.server.statistics().running_calls:  # noqa: ASYNC110 - nothing tells of it
        await trio.lowlevel.checkpoint()


async def ask_for_four_chunks(running: Running, wire: Wire) -> None:
    """A call that has ended on the server, while most of its answer is still in its memory."""
    await wire.send(settings(INITIAL_WINDOW_SIZE=2**31 - 1), window(0, 2**30))
    fields = [(n, "/toy.Toy/Flood" if n == ":path" else v) for n, v in GRPC_HEADERS]
    await wire.send(wire.headers(1, fields), data(1, FOUR, end=True))
    await running.toy.ended.wait()
    await no_calls(running)
    (link,) = running.server._links
    assert link._writing or link.connection.pending_bytes


async def test_a_drain_waits_for_a_slow_reader_of_an_answer() -> None:
    """The handler has ended, its answer is not read yet: it is not cut off."""
    async with serving(
        shared_pki(), linger_s=0.05, send_buffer_bytes=16_384, outbound_bytes=2**19
    ) as running:
        async with connected(running, receive_buffer_bytes=4_096) as wire:
            await ask_for_four_chunks(running, wire)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(running.server.drain, 20.0)
                await wire.send(PingFrame(0, b"draining", flags=("ACK",)))
                await trio.testing.wait_all_tasks_blocked(0.15)  # longer than it lingers
                assert await wire.status(1) == "0"
                while await wire.next() is not None:
                    pass
        received = sum(len(each.data) for each in wire.seen if isinstance(each, DataFrame))
        assert received >= 4 * len(CHUNK)
        assert running.server.statistics().ended == {"drained": 1}


async def test_a_drain_ends_with_its_time_whoever_reads() -> None:
    """A client that reads nothing holds it up no longer than it was given."""
    async with serving(
        shared_pki(), linger_s=0.05, send_buffer_bytes=16_384, outbound_bytes=2**19
    ) as running:
        async with connected(running, receive_buffer_bytes=4_096) as wire:
            await ask_for_four_chunks(running, wire)
            with trio.fail_after(2 * slowness()):
                await running.server.drain(0.1)
        assert running.server.statistics().connections == 0


@pytest.mark.parametrize("timeout_s", [0.0, 0.02])
async def test_a_short_drain_says_which_calls_count(timeout_s: float) -> None:
    """Shorter than the round trip of its PING, it sends the second GOAWAY all the same."""
    async with serving(shared_pki(), linger_s=0.05) as running, connected(running) as wire:
        await wire.send(wire.call(1, "/toy.Toy/Wait"))
        await running.toy.started.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(running.server.drain, timeout_s)
            while await wire.next() is not None:
                pass
        lasts = [each.last_stream_id for each in wire.seen if isinstance(each, GoAwayFrame)]
        assert lasts in ([HIGHEST_STREAM_ID, 1], [1])  # without any time, the real one alone


async def test_settings_are_no_use_of_a_connection() -> None:
    """One that has no calls ends, however often it says SETTINGS."""
    async with (
        serving(shared_pki(), idle_s=0.2, linger_s=0.05) as running,
        connected(running) as wire,
    ):
        with trio.fail_after(5 * slowness()):
            while running.server.statistics().connections:
                await wire.send(settings())
                await trio.sleep(0.05)
        assert running.server.statistics().ended == {"idle": 1}


async def test_a_client_that_is_gone_ends_its_calls_though_it_was_not_read() -> None:
    """At once, where its answers had stopped the reading; not after ``linger_s``."""
    async with serving(
        shared_pki(),
        outbound_bytes=10_000,
        linger_s=3600.0,
        send_buffer_bytes=50_000,
        receive_buffer_bytes=50_000,
    ) as running:
        # What the kernel would hold is megabytes, and minutes of a busy machine.
        async with connected(
            running, receive_buffer_bytes=50_000, send_buffer_bytes=50_000
        ) as wire:
            await wire.send(wire.call(1, "/toy.Toy/Wait"))
            await running.toy.started.wait()
            fields = [each for each in GRPC_HEADERS if each[0] != "te"]
            stream_id, blocked_s = 3, 0.3 * slowness()
            with trio.move_on_after(patient(10)):
                while True:
                    batch = [
                        wire.headers(stream_id + 2 * n, fields, ("END_HEADERS", "END_STREAM"))
                        for n in range(100)
                    ]
                    stream_id += 200
                    with trio.move_on_after(blocked_s) as sending:
                        await wire.send(*batch)
                    if sending.cancelled_caught:  # the server does not read us any more
                        break
        with trio.fail_after(1 * slowness()):
            await running.toy.ended.wait()


@pytest.mark.parametrize("late", ["handshake", "accept"])
async def test_a_handshake_that_is_done_as_the_drain_begins_is_sent_away(
    monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """C11: so is a connection that was accepted in that moment. It is told that none of its calls
    was begun, with the first bytes, and so can make them elsewhere."""
    with trio.socket.socket() as any_socket:
        sockets: Any = type(any_socket)
    handshake, accept = TlsTransport.handshake, sockets.accept
    draining = False

    async def drain_begins() -> None:
        nonlocal draining
        draining = True
        nursery.start_soon(running.server.drain, 3600.0)
        # As if the step that is over had been woken before: no checkpoint hears of it.
        await trio.lowlevel.cancel_shielded_checkpoint()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def last_step(self: TlsTransport, turns: trio.Lock) -> None:
        await handshake(self, turns)
        if running.toy.started.is_set() and late == "handshake":
            await drain_begins()

    async def accepted(self: Any) -> Any:
        found = await accept(self)
        if running.toy.started.is_set() and late == "accept":
            await drain_begins()
        return found

    monkeypatch.setattr(TlsTransport, "handshake", last_step)
    monkeypatch.setattr(sockets, "accept", accepted)
    async with serving(shared_pki(), linger_s=0.05) as running, trio.open_nursery() as nursery:
        async with connected(running) as busy:
            await busy.send(busy.call(1, "/toy.Toy/Wait"))
            await running.toy.started.wait()
            async with connected(running, greet=False) as wire:
                await wire.send(PREFACE, settings(), wire.call(1, "/toy.Toy/Echo"))
                while await wire.next() is not None:
                    pass
            assert draining
            *_, away = wire.seen
            assert isinstance(away, GoAwayFrame)
            assert (away.last_stream_id, away.error_code) == (0, NO_ERROR)
            assert running.toy.contexts == []
            running.toy.release.set()
            assert await busy.status(1) == "0"


@pytest.mark.timeout(60)
async def test_who_is_accepted_as_a_drain_begins_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C11, C34: who comes while one server drains and the next begins, on the same socket, is
    served by one of them or sent away by the first: none is refused, cut off in TLS or reset.

    As long as its handshake is done in time, which on a busy machine takes longer.
    """
    monkeypatch.setattr(acceptor, "_LAST_HANDSHAKES_S", patient(5))
    pki = shared_pki()
    async with serving(pki, linger_s=patient(1)) as running, trio.open_nursery() as nursery:
        following = Server([], pki.server_context())
        listener = trio.SocketListener(running.listener.socket.dup())
        outcomes: list[str] = []
        all_done = trio.Event()
        context = pki.client_context("alice")

        async def arrive() -> None:
            outcome = "served"
            try:
                async with open_channel("127.0.0.1", running.port, context):
                    pass
            except ConnectionLost as error:
                outcome = f"{error.message}, may pass: {error.may_pass}"
            outcomes.append(outcome)
            if len(outcomes) == _ARRIVALS:
                all_done.set()

        for number in range(_ARRIVALS):
            nursery.start_soon(arrive)
            if number % 3 == 0:
                await trio.sleep(0.001)
            if number == _ARRIVALS // 2:
                nursery.start_soon(running.server.drain, patient(10))
                await nursery.start(following.serve, [listener])
        with trio.fail_after(patient(20)):
            await all_done.wait()
        away = {f"the server is {how}, may pass: True" for how in ("shutting down", "going away")}
        assert set(outcomes) <= {"served"} | away
        assert outcomes.count("served") >= _ARRIVALS // 2 - 1
        nursery.cancel_scope.cancel()
