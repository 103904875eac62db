"""Floods of frames: what ends a call, what ends with its connection, and how long a turn may be."""

import logging
import re
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from hyperframe.frame import GoAwayFrame
from patience import patient
from pki import shared_pki
from raw import GRPC_HEADERS, message
from toy import Running, serving
from wire import CALM, Wire, connected, data, to_server

from penstock.rpc import turns
from penstock.rpc.call_errors import StatusCode
from penstock.rpc.lag import SLOW_TURN_S, LagMeter
from penstock.rpc.limits import Rate
from penstock.rpc.message_stream import MessageStream
from penstock.rpc.server_connection import ServerConnection
from penstock.rpc.tls.transport import TlsTransport

EXHAUSTED = str(StatusCode.RESOURCE_EXHAUSTED.value)


def begun(wire: Wire, stream_id: int, path: str = "/toy.Toy/Total") -> bytes:
    fields = [(name, path if name == ":path" else value) for name, value in GRPC_HEADERS]
    return bytes(wire.headers(stream_id, fields).serialize())


@pytest.mark.parametrize("size", [1, 100, 1_023])
async def test_a_message_in_frames_of_few_bytes_ends_its_call(size: int) -> None:
    """With a status that nobody retries; the connection and its other calls go on."""
    async with to_server(little_data=Rate(20, 0.0)) as wire:
        await wire.send(wire.call(1, "/toy.Toy/Wait"), begun(wire, 3))
        whole = message(bytes(100_000))
        await wire.send(*(data(3, whole[at : at + size]) for at in range(0, 30 * size, size)))
        assert await wire.status(3) == EXHAUSTED
        await wire.send(wire.call(5))
        assert await wire.status(5) == "0"
        await wire.lives()


async def test_frames_of_few_bytes_count_over_streams() -> None:
    """A budget of the connection: ninety streams have no more of it than one."""
    async with to_server(little_data=Rate(20, 0.0)) as wire:
        streams = range(1, 61, 2)
        for stream_id in streams:
            await wire.send(begun(wire, stream_id), data(stream_id, message(bytes(50))[:10]))
        assert await wire.status(streams[-1]) == EXHAUSTED
        await wire.lives()


async def test_a_prefix_of_its_own_is_not_a_flood() -> None:
    """As some clients send it: one little frame for each message, without an end."""
    async with to_server(little_data=Rate(5, 0.0)) as wire:
        await wire.send(begun(wire, 1))
        for _ in range(100):
            await wire.send(data(1, message(b"\x08\x01")[:5]), data(1, b"\x08\x01"))
            await wire.lives()
        await wire.send(data(1, b"", end=True))
        assert await wire.status(1) == "0"


async def test_whole_messages_and_full_frames_are_not_little() -> None:
    """However small the messages; nor is the frame that completes a large one."""
    async with to_server(little_data=Rate(5, 0.0)) as wire:
        await wire.send(begun(wire, 1), *(data(1, message(b"")) for _ in range(500)))
        await wire.send(data(1, b"", end=True))
        assert await wire.status(1) == "0"
        for stream_id in range(3, 63, 2):
            whole = message(b"\x08" + bytes((1,)) + b"\x12" + b"\xa7\x1f" + bytes(4_007))
            await wire.send(begun(wire, stream_id))
            await wire.send(
                *(data(stream_id, whole[at : at + 1_024]) for at in range(0, 4_017, 1_024))
            )
            await wire.send(data(stream_id, b"", end=True))
            assert await wire.status(stream_id) == "0"


async def test_a_call_that_has_failed_is_no_place_for_a_flood() -> None:
    """Its handler reads nothing, so it does not know: what still comes has a budget too."""
    limits: dict[str, Any] = {"little_data": Rate(5, 0.0), "late_frames": Rate(20, 0.0)}
    async with to_server(**limits) as wire:
        await wire.send(begun(wire, 1, "/toy.Toy/TotalLater"), data(1, message(bytes(500))[:10]))
        await wire.send(*(data(1, b"x") for _ in range(60)))
        await wire.goaway(CALM)


async def none_left(running: Running) -> None:
    with trio.fail_after(patient(10)):
        while running.server.statistics().connections:  # noqa: ASYNC110 - nothing tells of it
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("how", ["frames", "records"])
async def test_a_backlog_ends_with_its_connection(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What nobody waits for any more is not handled, many frames in a record or a record each.

    They are answered by nothing, so writing does not tell that the peer has gone.
    """
    gate, received, fed = trio.Event(), TlsTransport.receive, 0
    true = MessageStream.feed

    async def receive(self: TlsTransport) -> bytes:
        await gate.wait()
        return await received(self)

    def feed(self: MessageStream, data: bytes, flow_bytes: int) -> None:
        nonlocal fed
        fed += 1
        true(self, data, flow_bytes)

    gate.set()
    monkeypatch.setattr(TlsTransport, "receive", receive)
    monkeypatch.setattr(MessageStream, "feed", feed)
    async with serving(shared_pki(), little_data=Rate(100_000, 0.0)) as running:
        async with connected(running) as wire:
            gate = trio.Event()
            await wire.send(begun(wire, 1))
            frames = [data(1, message(bytes(100_000))[:10]), *[data(1, b"x")] * 300]
            if how == "frames":
                await wire.send(*frames)
            else:
                for each in frames:
                    await wire.send(each)
        gate.set()
        await none_left(running)
        assert running.server.statistics().ended == {"closed": 1}
        assert fed < 150


async def test_a_turn_has_an_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a frame costs a millisecond, a turn has no sixteen of them."""
    async with serving(shared_pki()) as running, connected(running) as wire:
        in_turn: Counter[int] = Counter()
        true = ServerConnection._headers_arrived

        def slow(self: ServerConnection, event: Any) -> None:
            in_turn[running.server.statistics().lag.turns] += 1
            until = time.perf_counter() + 0.001
            while time.perf_counter() < until:
                pass
            true(self, event)

        monkeypatch.setattr(ServerConnection, "_headers_arrived", slow)
        fields = [(name, "/no/thing" if name == ":path" else value) for name, value in GRPC_HEADERS]
        blocks = [
            wire.headers(each, fields, ("END_HEADERS", "END_STREAM")) for each in range(1, 160, 2)
        ]
        await wire.send(*blocks)
        await wire.lives()
        assert sum(in_turn.values()) == 80
        assert max(in_turn.values()) <= 8  # a step of four, and the four that are free


async def test_a_little_from_many_connections_has_an_end_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What each may have handled at once is a millisecond; of all, some are, and the rest waits."""
    gate, received, true = trio.Event(), TlsTransport.receive, ServerConnection._headers_arrived
    gate.set()
    in_turn: Counter[int] = Counter()

    async def receive(self: TlsTransport) -> bytes:
        await gate.wait()
        return await received(self)

    # Of work alone: however long the machine keeps this thread waiting, no share comes back.
    worked_s = 0.0

    def slow(self: ServerConnection, event: Any) -> None:
        nonlocal worked_s
        in_turn[running.server.statistics().lag.turns] += 1
        worked_s += 0.001
        true(self, event)

    monkeypatch.setattr(turns, "perf_counter", lambda: worked_s)
    monkeypatch.setattr(TlsTransport, "receive", receive)
    monkeypatch.setattr(ServerConnection, "_headers_arrived", slow)
    fields = [(name, "/no/thing" if name == ":path" else value) for name, value in GRPC_HEADERS]
    async with serving(shared_pki()) as running, AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(connected(running)) for _ in range(12)]
        gate = trio.Event()
        for wire in wires:
            await wire.lives()  # now the next of its bytes are not read
            await wire.send(wire.headers(1, fields, ("END_HEADERS", "END_STREAM")))
        gate.set()
        for wire in wires:
            await wire.lives()
    assert sum(in_turn.values()) == 12
    assert max(in_turn.values()) <= 4  # two milliseconds, and a slice


async def test_unknown_frames_end_the_connection_within_their_budget() -> None:
    """As before: the budget is the connection's, as they belong to no call."""
    async with to_server(unknown_frames=Rate(20, 0.0)) as wire:
        await wire.send(b"\0\0\x01\x42\0\0\0\0\0x" * 21)
        frame = await wire.expect(GoAwayFrame)
        assert frame.error_code == CALM


class Clock:
    def __init__(self) -> None:
        self.now_s = self.cpu_s = 0.0

    def turn(self, meter: LagMeter, wall_s: float, cpu_s: float) -> None:
        meter.after_io_wait(0)
        self.now_s += wall_s
        self.cpu_s += cpu_s
        meter.before_io_wait(0)
        self.now_s += 0.5  # waiting is no lag


def test_lag_is_the_length_of_turns() -> None:
    """The worst ever and lately, slow ones told each, work apart from waiting."""
    clock, told = Clock(), list[tuple[float, float]]()
    meter = LagMeter(
        lambda *slow: told.append(slow), clock=lambda: clock.now_s, cpu_clock=lambda: clock.cpu_s
    )
    meter.before_io_wait(0)  # it was added in the middle of a turn
    clock.turn(meter, 0.25, 0.125)
    clock.turn(meter, 0.03125, 0.03125)
    clock.turn(meter, SLOW_TURN_S + 0.025, 0.0)
    found = meter.statistics()
    assert (found.turns, found.slow) == (3, 2)
    assert (found.worst_s, found.worst_cpu_s, found.recent_s) == (0.25, 0.125, 0.25)
    assert [round(wall, 3) for wall, _ in told] == [0.25, 0.125]
    for _ in range(300):  # more than two minutes
        clock.turn(meter, 0.0625, 0.0625)
    found = meter.statistics()
    assert (found.worst_s, found.slow) == (0.25, 2)
    assert found.recent_s == pytest.approx(0.0625)


async def test_a_slow_turn_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever makes it slow, here a task that is no part of the server."""
    caplog.set_level(logging.INFO, "penstock.rpc")
    async with serving(shared_pki()) as running:
        await trio.lowlevel.checkpoint()
        time.sleep(0.15)  # noqa: ASYNC251 - what is measured
        await trio.lowlevel.checkpoint()
        found = running.server.statistics().lag
        assert found.slow == 1
        assert found.worst_s >= found.recent_s >= 0.15
        assert found.worst_cpu_s < 0.15
    waited = re.search(r"everybody has waited ([0-9.]+) s for one turn", caplog.text)
    assert waited is not None
    assert float(waited[1]) >= 0.15
