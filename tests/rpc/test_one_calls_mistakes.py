"""One call's mistake, of every kind, ends that call alone: with a status that says so and that no
library tries again, while its siblings live."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
)
from pki import shared_pki
from raw import GRPC_HEADERS, frame, message, with_headers
from toy import serving
from wire import CALM, HELLO, Wire, connected, data, to_client, to_server, window

from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.limits import SERVER_DEFAULTS, Rate
from penstock.rpc.status_codec import error_from_reset

Mistake: TypeAlias = Callable[[Wire], Sequence[Frame | bytes]]
SIBLING, CULPRIT, NEXT = 1, 3, 5
# What gRPC's libraries repeat by themselves, or are told to repeat by their usual configurations.
RETRIED = {StatusCode.UNAVAILABLE}
EXHAUSTED, INVALID, INTERNAL = "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "INTERNAL"


def head(w: Wire, path: str = "/toy.Toy/Total", **changes: str | None) -> HeadersFrame:
    """Of a call whose requests are a stream, with other fields where named (``_`` for ``-``)."""
    named = [(name.replace("_", "-"), value) for name, value in changes.items()]
    return w.headers(CULPRIT, with_headers((":path", path), *named))


def unary(w: Wire, **changes: str | None) -> HeadersFrame:
    return head(w, "/toy.Toy/Echo", **changes)


def in_parts(w: Wire, *fields: tuple[str, str], huffman: bool = False) -> list[Frame]:
    """HEADERS and CONTINUATIONs of at most 16 KiB."""
    block = bytes(w.encoder.encode([*GRPC_HEADERS, *fields], huffman=huffman))
    parts = [block[begin : begin + 16_384] for begin in range(0, len(block), 16_384)]
    frames: list[Frame] = [HeadersFrame(CULPRIT, parts[0])]
    frames += [ContinuationFrame(CULPRIT, part) for part in parts[1:]]
    frames[-1].flags.add("END_HEADERS")
    return frames


def bomb(w: Wire) -> list[Frame | bytes]:
    """A field of 3 KB in HPACK's table, and a hundred times the byte that stands for it."""
    bombs = [("bomb", "x" * 3_000)]
    return [HeadersFrame(CULPRIT, w.encoder.encode(bombs * 100), flags=["END_HEADERS"])]


def padded(size: int) -> bytes:
    return frame(0, 0x8, CULPRIT, bytes((size,)) + bytes(size))


MISTAKES: dict[str, tuple[str, Mistake]] = {
    "metadata of 9 KB": (EXHAUSTED, lambda w: [unary(w, x="y" * 9_000), data(CULPRIT, HELLO)]),
    "metadata of 100 KB": (EXHAUSTED, lambda w: in_parts(w, ("x", "~y" * 50_000))),
    "ten times 10 KB": (
        EXHAUSTED,
        lambda w: in_parts(w, *[(f"x{n}", "y" * 10_000) for n in range(10)], huffman=True),
    ),
    "1,500 fields": (
        EXHAUSTED,
        lambda w: in_parts(w, *[(f"x{n}", "y" * 20) for n in range(1_500)]),
    ),
    "an HPACK bomb": (EXHAUSTED, bomb),
    "trailers of 9 KB": (
        EXHAUSTED,
        lambda w: [
            head(w),
            w.headers(CULPRIT, [("x", "y" * 9_000)], ("END_HEADERS", "END_STREAM")),
        ],
    ),
    "DATA over the frame size": (INTERNAL, lambda w: [head(w), data(CULPRIT, bytes(16_385))]),
    "DATA of 9 MB": (INTERNAL, lambda w: [head(w), data(CULPRIT, bytes(9_000_000))]),
    "more DATA than the window": (
        INTERNAL,
        lambda w: [
            *(head(w, "/toy.Toy/TotalLater"),),
            *[data(CULPRIT, bytes(16_384))] * (SERVER_DEFAULTS.stream_window_bytes // 16_384),
            data(CULPRIT, bytes(1)),
        ],
    ),
    "empty DATA": (EXHAUSTED, lambda w: [head(w), data(CULPRIT, b"") * 500]),
    "nothing but padding": (EXHAUSTED, lambda w: [head(w), padded(200) * 500]),
    "window updates": (EXHAUSTED, lambda w: [head(w), window(CULPRIT, 1).serialize() * 5_000]),
    "a window update of 0": (INTERNAL, lambda w: [head(w), window(CULPRIT, 0)]),
    "too large a window": (INTERNAL, lambda w: [head(w), window(CULPRIT, 2**31 - 1)]),
    "trailers that end nothing": (INTERNAL, lambda w: [head(w), w.headers(CULPRIT, [("x", "y")])]),
    "malformed trailers": (
        INTERNAL,
        lambda w: [head(w), w.headers(CULPRIT, [("X", "y")], ("END_HEADERS", "END_STREAM"))],
    ),
    "malformed fields": (INTERNAL, lambda w: [head(w, connection="close")]),
    "content-length": (INTERNAL, lambda w: [head(w, content_length="3"), data(CULPRIT, HELLO)]),
    "DATA after the end": (
        INTERNAL,
        lambda w: [w.call(CULPRIT, "/toy.Toy/Wait"), data(CULPRIT, HELLO)],
    ),
    "HEADERS after the end": (
        INTERNAL,
        lambda w: [w.call(CULPRIT, "/toy.Toy/Wait"), w.headers(CULPRIT, [("x", "y")])],
    ),
    "no te": (INVALID, lambda w: [unary(w, te=None)]),
    "a timeout that is none": (INVALID, lambda w: [unary(w, grpc_timeout="soon")]),
    "a deadline that has passed": ("DEADLINE_EXCEEDED", lambda w: [unary(w, grpc_timeout="1n")]),
    "base64 that is none": (INVALID, lambda w: [unary(w, x_bin="!")]),
    "an unknown service": ("UNIMPLEMENTED", lambda w: [head(w, "/no.Service/Echo")]),
    "an unknown method": ("UNIMPLEMENTED", lambda w: [head(w, "/toy.Toy/Nope")]),
    "a message of 5 MB": (EXHAUSTED, lambda w: [head(w), data(CULPRIT, b"\0\0\x4c\x4b\x40")]),
    "compressed without an encoding": (INTERNAL, lambda w: [head(w), data(CULPRIT, b"\1\0\0\0\0")]),
    "an unknown encoding": ("UNIMPLEMENTED", lambda w: [head(w, grpc_encoding="gzip")]),
    "no message": (INVALID, lambda w: [unary(w), data(CULPRIT, b"", end=True)]),
    "half a message": (INVALID, lambda w: [unary(w), data(CULPRIT, HELLO[:-1], end=True)]),
    "two messages": (INVALID, lambda w: [unary(w), data(CULPRIT, HELLO + HELLO, end=True)]),
    "what does not parse": (
        INVALID,
        lambda w: [unary(w), data(CULPRIT, message(b"\xff\xff"), end=True)],
    ),
    "small messages after the refusal": (
        INVALID,
        lambda w: [unary(w), data(CULPRIT, message(b"\x0a\x01x")) * 100_000],
    ),
}


async def status(w: Wire, stream_id: int) -> StatusCode:
    """A call's status as gRPC's libraries have it: by its trailers, or by its reset."""
    while (each := await w.next()) is not None:
        assert not isinstance(each, GoAwayFrame), each
        if each.stream_id != stream_id:
            continue
        if isinstance(each, HeadersFrame) and "END_STREAM" in each.flags:
            return StatusCode(int(each.fields["grpc-status"]))
        if isinstance(each, RstStreamFrame):
            return error_from_reset(each.error_code).code
    raise AssertionError("the connection was closed")


@pytest.mark.parametrize("kind", MISTAKES)
async def test_siblings_live(kind: str) -> None:
    """The culprit hears what was wrong; a call of before and one of after know nothing of it."""
    expected, mistake = MISTAKES[kind]
    async with serving(shared_pki()) as running, connected(running) as wire:
        await wire.send(wire.call(SIBLING, "/toy.Toy/Wait"))
        await running.toy.started.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.send, *mistake(wire))
            found = await status(wire, CULPRIT)
            assert found.name == expected
            assert found not in RETRIED
        running.toy.release.set()
        assert await wire.status(SIBLING) == "0"
        wire.encoder = type(wire.encoder)()  # as if it had never used HPACK's table
        await wire.send(wire.call(NEXT))
        assert await wire.status(NEXT) == "0"
        statistics = running.server.statistics()
        assert (statistics.connections, statistics.ended) == (1, {})


async def test_who_is_to_blame_for_a_budget() -> None:
    """Who has used most of it, not who comes when it is empty."""
    async with serving(shared_pki(), empty_data=Rate(100, 0.0)) as running:
        async with connected(running) as wire:
            await wire.send(wire.call(SIBLING, "/toy.Toy/Wait"), head(wire))
            fields = with_headers((":path", "/toy.Toy/Total"))
            await wire.send(wire.headers(NEXT, fields))
            await wire.send(data(CULPRIT, b"") * 100)
            await wire.send(frame(0, 0, NEXT), data(NEXT, b"", end=True))
            await wire.rst(CULPRIT, CALM)
            assert await wire.status(NEXT) == "0"


async def test_many_calls_that_use_up_a_budget_end_the_connection() -> None:
    """None of them has used half of it: it is the client that floods."""
    async with to_server(empty_data=Rate(20, 0.0)) as wire:
        fields = with_headers((":path", "/toy.Toy/Total"))
        for stream_id in range(1, 23, 2):
            await wire.send(wire.headers(stream_id, fields), frame(0, 0, stream_id) * 2)
        await wire.goaway(CALM)


async def test_calls_that_end_by_their_floods_are_counted() -> None:
    """As resets that the peer has provoked: so many calls are no one call's mistake."""
    async with to_server(empty_data=Rate(10, 0.0), resets=Rate(3, 0.0)) as wire:
        fields = with_headers((":path", "/toy.Toy/Total"))
        for stream_id in (1, 3, 5, 7):
            await wire.send(wire.headers(stream_id, fields), frame(0, 0, stream_id) * 11)
        await wire.goaway(CALM)


async def test_the_culprit_hears_why_the_connection_ends() -> None:
    """A header block that cannot be gone through: its call must not be repeated, others may be."""
    async with serving(shared_pki()) as running, connected(running) as wire:
        await wire.send(wire.call(SIBLING, "/toy.Toy/Wait"))
        await running.toy.started.wait()
        await wire.send(*in_parts(wire, ("x", "~y" * 70_000))[:9])
        await wire.rst(CULPRIT, CALM)
        goaway = await wire.expect(GoAwayFrame)
        assert (goaway.error_code, goaway.last_stream_id) == (CALM, CULPRIT)


async def test_resets_that_cross_our_answers_cost_nothing() -> None:
    """grpc's clients reset a call that is answered before they have ended it."""
    async with to_server(resets=Rate(5, 0.0)) as wire:
        for stream_id in range(1, 41, 2):
            fields = with_headers((":path", "/no.Service/Echo"))
            await wire.send(wire.headers(stream_id, fields))
            assert await wire.status(stream_id) == "12"
            await wire.send(RstStreamFrame(stream_id, 8))
        await wire.lives()
        await wire.send(RstStreamFrame(39, 8))
        await wire.send(*[RstStreamFrame(39, 8)] * 10)
        await wire.goaway(CALM)


async def test_a_servers_oversized_metadata_ends_one_call_of_a_channel() -> None:
    """RESOURCE_EXHAUSTED, of a head and of trailers; the channel goes on."""
    async with to_client() as (wire, channel):
        caught: list[RpcError] = []

        async def call() -> None:
            with pytest.raises(RpcError) as found:
                await channel.unary("a", "b", BytesValue(), BytesValue)
            caught.append(found.value)

        response = [(":status", "200"), ("content-type", "application/grpc")]
        for stream_id in (1, 3):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await wire.expect(DataFrame, lambda each: "END_STREAM" in each.flags)
                large = [("x", "y" * 9_000)]
                if stream_id == 1:
                    await wire.send(wire.headers(1, response + large))
                else:
                    flags = ("END_HEADERS", "END_STREAM")
                    await wire.send(wire.headers(3, response), wire.headers(3, large, flags))
        assert [error.code for error in caught] == [StatusCode.RESOURCE_EXHAUSTED] * 2
        await wire.lives()
