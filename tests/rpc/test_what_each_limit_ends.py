"""docs/rpc.md, "What each limit ends": every row is tried, and every limit has one.

Beside the peer that breaks a rule there is a call of before on the same connection, which must not
notice where a row says that a call ends, and is gone where it says that the connection does.
"""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
)
from patience import patient
from pki import shared_pki
from raw import frame, message, with_headers
from tls_by_hand import agreed, hello_in_pieces
from toy import SERVICE, Running, serving
from wire import HELLO, Wire, connected, data, to_client, window

from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.limits import CLIENT_DEFAULTS, Limits, MessageLimits, Rate

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "rpc.md").read_text()
HEADER = "| limit or rule | ends | the peer hears | because |"
SIBLING, CULPRIT = 1, 3
# RFC 9113 section 7.
CODES = {
    0: "NO_ERROR",
    1: "PROTOCOL_ERROR",
    3: "FLOW_CONTROL_ERROR",
    5: "STREAM_CLOSED",
    6: "FRAME_SIZE_ERROR",
    7: "REFUSED_STREAM",
    9: "COMPRESSION_ERROR",
    11: "ENHANCE_YOUR_CALM",
}
FEW = Rate(10, 0.0)


def rows() -> dict[str, list[str]]:
    """The other cells by the first one, which has no marks any more."""
    lines = iter(TEXT.splitlines())
    while next(lines) != HEADER:
        pass
    next(lines)
    found = {}
    for line in lines:
        if not line.startswith("|"):
            break
        first, *others = (cell.strip().replace("`", "") for cell in line.strip("|").split(" | "))
        found[first] = others
    return found


ROWS = rows()
Outcome: TypeAlias = tuple[str, str]
"""What ends, and what the peer hears, in the words of the table."""
Trial: TypeAlias = Callable[[], Awaitable[Outcome]]
Act: TypeAlias = Callable[[Wire], Sequence[Frame | bytes]]


async def connections_end(wire: Wire) -> Outcome | None:
    """If it comes before a PING's answer."""
    await wire.send(PingFrame(0, b"still on"))
    while (each := await wire.next()) is not None:
        if isinstance(each, GoAwayFrame):
            return "connection", f"GOAWAY {CODES[each.error_code]}"
        if isinstance(each, PingFrame) and each.opaque_data == b"still on":
            return None
    return "connection", "closed"


async def observed(wire: Wire, running: Running) -> Outcome:
    """To the culprit's end, or the connection's; then the sibling's."""
    heard = ""
    while not heard:
        each = await wire.next()
        if each is None:
            return "connection", "closed"
        if isinstance(each, GoAwayFrame):
            return "connection", f"GOAWAY {CODES[each.error_code]}"
        if each.stream_id != CULPRIT:
            continue
        if isinstance(each, RstStreamFrame):
            heard = f"RST_STREAM {CODES[each.error_code]}"
        elif isinstance(each, HeadersFrame) and "END_STREAM" in each.flags:
            heard = StatusCode(int(each.fields["grpc-status"])).name
    if (ended := await connections_end(wire)) is not None:
        return ended
    running.toy.release.set()
    assert await wire.status(SIBLING) == "0"
    return "call", heard


@asynccontextmanager
async def beside_a_sibling(**options: Any) -> AsyncIterator[tuple[Running, Wire]]:
    async with serving(shared_pki(), **options) as running, connected(running) as wire:
        await wire.send(wire.call(SIBLING, "/toy.Toy/Wait"))
        await running.toy.started.wait()
        yield running, wire


def tried(act: Act, **options: Any) -> Trial:
    """These frames, beside a sibling."""

    async def trial() -> Outcome:
        async with beside_a_sibling(**options) as (running, wire), trio.open_nursery() as nursery:
            nursery.start_soon(wire.send, *act(wire))
            outcome = await observed(wire, running)
            nursery.cancel_scope.cancel()
        return outcome

    return trial


def head(wire: Wire, path: str = "/toy.Toy/Total", *fields: tuple[str, str]) -> HeadersFrame:
    return wire.headers(CULPRIT, with_headers((":path", path), *fields))


def whole(wire: Wire, size: int) -> list[Frame | bytes]:
    """A call with one message of this size, in frames of 16,000 bytes."""
    rest = message(bytes(size))
    parts = [rest[begin : begin + 16_000] for begin in range(0, len(rest), 16_000)]
    return [head(wire), *(data(CULPRIT, part) for part in parts)]


def in_two_blocks(wire: Wire, count: int) -> list[Frame | bytes]:
    """A header block in HEADERS and ``count`` CONTINUATIONs."""
    block = wire.encoder.encode(with_headers((":path", "/toy.Toy/Total")))
    return [HeadersFrame(CULPRIT, block), *[ContinuationFrame(CULPRIT, b"")] * count]


def large_block(wire: Wire) -> list[Frame | bytes]:
    return [HeadersFrame(CULPRIT, b""), *[ContinuationFrame(CULPRIT, bytes(16_000))] * 9]


def unread(wire: Wire) -> list[Frame | bytes]:
    """More than a connection's window, of messages that no handler takes."""
    return [
        head(wire, "/toy.Toy/TotalLater"),
        *[data(CULPRIT, message(b"") * 3_000)] * 5,
    ]


async def none_left(running: Running) -> str:
    """Why the one connection has ended, once it has."""
    with trio.fail_after(patient(10)):
        while not running.server.statistics().ended:  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(0.005)
    (kind,) = running.server.statistics().ended
    return kind


def refused_at_the_door(kind: str, said: bytes = b"", count: int = 1, **limits: Any) -> Trial:
    """``count`` connects that say this; what is refused is ``kind``."""

    async def trial() -> Outcome:
        async with serving(shared_pki(), **limits) as running:
            sockets = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(count)]
            for each in sockets:
                with suppress(OSError):
                    each.sendall(said)
            with trio.fail_after(patient(10)):
                while kind not in running.server.statistics().refused:  # noqa: ASYNC110
                    await trio.sleep(0.005)
            for each in sockets:
                each.close()
            if "handshake_s" not in limits:  # which would be too short for this one as well
                async with running.channel() as channel:
                    await channel.unary(SERVICE, "Echo", BytesValue(), BytesValue)
        return "handshake", "closed"

    return trial


async def one_connection_too_many() -> Outcome:
    async with serving(shared_pki(), connections=1) as running, connected(running):
        second = await trio.open_tcp_stream("127.0.0.1", running.port)
        async with second:
            with suppress(trio.BrokenResourceError):
                assert await second.receive_some() == b""
        assert running.server.statistics().refused == {"connections": 1}
    return "connection", "closed"


async def one_connection_of_a_client_too_many() -> Outcome:
    async with (
        serving(shared_pki(), connections_per_client=1) as running,
        connected(running) as first,
        connected(running, greet=False) as second,
    ):
        goaway = await second.expect(GoAwayFrame)
        await first.lives()
    return "connection", f"GOAWAY {CODES[goaway.error_code]}"


async def silent_after_the_handshake() -> Outcome:
    async with (
        serving(shared_pki(), preface_s=0.02) as running,
        connected(running, greet=False) as wire,
    ):
        while (each := await wire.next()) is not None:
            assert not isinstance(each, GoAwayFrame)
        assert await none_left(running) == "preface_timeout"
    return "connection", "closed"


async def idle() -> Outcome:
    async with (
        serving(shared_pki(), idle_s=0.02, linger_s=0.02) as running,
        connected(running) as wire,
    ):
        goaway = await wire.expect(GoAwayFrame)
        assert await none_left(running) == "idle"
    return "connection", f"GOAWAY {CODES[goaway.error_code]}"


async def silent_during_a_call() -> Outcome:
    limits = {"keepalive_s": 0.02, "keepalive_timeout_s": 0.02}
    async with beside_a_sibling(**limits) as (running, wire):
        while (each := await wire.next()) is not None:
            assert not isinstance(each, GoAwayFrame)
        assert await none_left(running) == "keepalive"
    return "connection", "closed"


async def not_read() -> Outcome:
    """The windows are open wide, so it is the socket that takes nothing."""
    few: dict[str, Any] = {"send_buffer_bytes": 50_000, "receive_buffer_bytes": 50_000}
    async with (
        serving(shared_pki(), write_stall_s=0.05, **few) as running,
        connected(running, **few) as wire,
    ):
        await wire.send(window(0, 2**30), wire.call(CULPRIT, "/toy.Toy/Flood"))
        await wire.send(window(CULPRIT, 2**30))
        assert await none_left(running) == "write_stall"
    return "connection", "closed"


async def key_updates() -> Outcome:
    context = shared_pki().client_context()
    async with (
        serving(shared_pki(), silent_records=FEW) as running,
        await trio.open_tcp_stream("127.0.0.1", running.port) as stream,
    ):
        writer = await agreed(stream, context, server_side=False)
        await stream.send_all(b"".join(writer.key_update() for _ in range(30)))
        assert await none_left(running) == "tls_records"
    return "connection", "closed"


async def frames_after_the_end() -> Outcome:
    """Of a call whose answer is there: in one write with the call they may come before it."""
    async with beside_a_sibling(late_frames=FEW) as (_, wire):
        await wire.send(wire.call(CULPRIT))
        assert await wire.status(CULPRIT) == "0"
        await wire.send(*[window(CULPRIT, 1)] * 30)
        return await connections_end(wire) or ("nothing", "nothing")


async def interim_responses() -> Outcome:
    """Of a server to our channel."""
    limits = CLIENT_DEFAULTS._replace(interim_responses=FEW)
    async with to_client(limits=limits) as (wire, channel):
        caught: list[RpcError] = []

        async def call(method: str) -> None:
            with pytest.raises(RpcError) as found:
                await channel.unary("a", method, BytesValue(), BytesValue)
            caught.append(found.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "b")
            await wire.expect(DataFrame, lambda each: "END_STREAM" in each.flags)
            await wire.send(*[wire.headers(1, [(":status", "103")]) for _ in range(11)])
        await wire.lives()
    return "call", caught[0].code.name


CASES: dict[str, Trial] = {
    "connections": one_connection_too_many,
    "connections_per_client": one_connection_of_a_client_too_many,
    "handshakes, handshakes_begun, handshake_grace_s": refused_at_the_door(
        "handshakes", count=5, handshakes=3
    ),
    "handshake_s": refused_at_the_door("handshake_timeout", handshake_s=0.02),
    "handshake_bytes": refused_at_the_door(
        "handshake_bytes", hello_in_pieces(3_000), handshake_bytes=2_000
    ),
    "silent_records": key_updates,
    "preface_s": silent_after_the_handshake,
    "idle_s": idle,
    "keepalive_s, keepalive_timeout_s": silent_during_a_call,
    "write_stall_s": not_read,
    "stream_stall_s": tried(
        lambda w: [window(0, 2**30), w.call(CULPRIT, "/toy.Toy/Flood")], stream_stall_s=0.02
    ),
    "request_s": tried(lambda w: [head(w, "/toy.Toy/Echo")], request_s=0.02),
    "streams": tried(lambda w: [w.call(CULPRIT)], streams=1),
    "streams_per_client": tried(lambda w: [w.call(CULPRIT)], streams_per_client=1),
    "stream_window_bytes": tried(unread, stream_window_bytes=65_535),
    "connection_window_bytes": tried(
        unread, stream_window_bytes=2**20, connection_window_bytes=65_535
    ),
    "frame_bytes, of DATA": tried(lambda w: [head(w), data(CULPRIT, bytes(16_385))]),
    "frame_bytes, of anything else": tried(lambda w: [frame(6, 0, 0, bytes(16_385))]),
    "header_bytes": tried(lambda w: [head(w, "/toy.Toy/Total", ("x", "y" * 9_000))]),
    "header_block_bytes": tried(large_block),
    "continuations": tried(lambda w: in_two_blocks(w, 9)),
    "message_bytes": tried(lambda w: whole(w, 1_001), message_bytes=1_000),
    "message_fields": tried(
        lambda w: [head(w), data(CULPRIT, message(b"\x10\x00" * 11))], message_fields=10
    ),
    "unfinished_bytes": tried(
        lambda w: whole(w, 1_000_000)[:12], message_bytes=2**21, unfinished_bytes=100_000
    ),
    "unfinished_bytes_per_client": tried(
        lambda w: whole(w, 1_000_000)[:12], message_bytes=2**21, unfinished_bytes_per_client=100_000
    ),
    "unfinished_bytes_in_all": tried(
        lambda w: whole(w, 1_000_000)[:12], message_bytes=2**21, unfinished_bytes_in_all=100_000
    ),
    "resets": tried(
        lambda w: [
            part
            for n in range(5, 31, 2)
            for part in (
                w.headers(n, with_headers((":path", "/toy.Toy/Total"))),
                RstStreamFrame(n, 8),
            )
        ],
        resets=FEW,
    ),
    "late_frames": frames_after_the_end,
    "interim_responses": interim_responses,
    "pings": tried(lambda w: [PingFrame(0, b"12345678")] * 20, pings=FEW),
    "settings": tried(lambda w: [frame(4, 0, 0)] * 20, settings=FEW),
    "priorities": tried(lambda w: [frame(2, 0, 1, b"\0\0\0\0\x10")] * 20, priorities=FEW),
    "unknown_frames": tried(lambda w: [frame(0xBE, 0, 0, b"x")] * 20, unknown_frames=FEW),
    "empty_data": tried(lambda w: [head(w), data(CULPRIT, b"") * 20], empty_data=FEW),
    "empty_data, of many calls": tried(
        lambda w: [
            part
            for n in range(5, 31, 2)
            for part in (w.headers(n, with_headers((":path", "/toy.Toy/Total"))), data(n, b""))
        ],
        empty_data=FEW,
    ),
    "window_updates": tried(lambda w: [head(w), *[window(CULPRIT, 1)] * 20], window_updates=FEW),
    "window_updates, of the connection": tried(lambda w: [window(0, 1)] * 20, window_updates=FEW),
    "little_data, little_data_bytes": tried(
        lambda w: [head(w), data(CULPRIT, message(bytes(500))[:10]), data(CULPRIT, b"x") * 20],
        little_data=FEW,
    ),
    "a header block that cannot be decoded": tried(
        lambda w: [frame(1, 4, CULPRIT, b"\xff\xff\xff\xff\xff\xff")]
    ),
    "padding longer than its frame": tried(lambda w: [head(w), frame(0, 8, CULPRIT, b"\xffx")]),
    "a stream id that is even, or lower than one before": tried(
        lambda w: [w.headers(4, with_headers())]
    ),
    "a frame on a stream that was never opened": tried(lambda w: [data(9, b"x")]),
    "a frame of a call on stream 0, or of the connection on a stream": tried(
        lambda w: [frame(6, 0, CULPRIT, b"12345678")]
    ),
    "DATA or HEADERS after a call's end": tried(
        lambda w: [w.call(CULPRIT, "/toy.Toy/Wait"), data(CULPRIT, HELLO)]
    ),
    "a WINDOW_UPDATE of 0, or past 2^31-1, of a call": tried(
        lambda w: [head(w), window(CULPRIT, 0)]
    ),
    "the same of the connection": tried(lambda w: [window(0, 2**31 - 1)]),
}


@pytest.mark.parametrize("limit", ROWS)
async def test_a_row(limit: str) -> None:
    """What ends, and with which words; a row that ends nothing says what it does instead."""
    ends, hears, because = ROWS[limit]
    assert because
    if ends == "nothing":
        assert hears == "nothing"
        assert limit not in CASES
    else:
        assert await CASES[limit]() == (ends, hears)


def test_every_limit_has_a_row() -> None:
    """By its name; a row may have several, and a case none."""
    named = [name for row in ROWS for name in row.split(", ")]
    fields = Limits._fields
    assert not set(fields) - set(named)
    assert not CASES.keys() - ROWS.keys()
    assert {*MessageLimits._fields} >= {"message_bytes"}
