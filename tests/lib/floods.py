"""Floods: frames, calls and connections that cost their sender nothing, as many as it can.

What attackers.py does in addition to breaking rules. Each is legal, or nearly so, once; only the
number is hostile. ``FLOODS`` run over a TLS connection of a client that has a certificate,
``FLOODS_ON_TCP`` need none.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from raw import GRPC_HEADERS, frame, with_headers

if TYPE_CHECKING:
    from attackers import Attacker

FLOODS: dict[str, Callable[[Attacker], Awaitable[None]]] = {}
FLOODS_ON_TCP: dict[str, Callable[[int, Path], Awaitable[None]]] = {}

_AT_ONCE: Final = 100
# l_onoff, l_linger: closing sends a reset (socket(7)).
_RESET: Final = struct.pack("ii", 1, 0)
# What one program may have open at once; the oldest is closed for a new one.
_OPEN: Final = 2_500
_CONNECTS_A_TURN: Final = 50


def _flood(function: Callable[[Attacker], Awaitable[None]]) -> None:
    FLOODS[function.__name__] = function


def _flood_on_tcp(function: Callable[[int, Path], Awaitable[None]]) -> None:
    FLOODS_ON_TCP[function.__name__] = function


async def _calls(attacker: Attacker, made: Callable[[int], bytes]) -> None:
    """So many streams in each write, each as ``made`` writes it, without an end."""
    await attacker.greet()
    for begin in count(1, 2 * _AT_ONCE):
        last = begin + 2 * _AT_ONCE
        await attacker.send(b"".join(made(stream_id) for stream_id in range(begin, last, 2)))


# Frames.


@_flood
async def tiny_data(attacker: Attacker) -> None:
    """A message that is declared large and comes a byte a frame."""
    await attacker.greet()
    await attacker.send(attacker.headers(1, path="/toy.Toy/Total"))
    await attacker.send(frame(0, 0, 1, b"\0" + (4_000_000).to_bytes(4, "big")))
    while True:
        await attacker.send(frame(0, 0, 1, b"x") * 1_500)


@_flood
async def tiny_data_in_records(attacker: Attacker) -> None:
    """The same, each frame in a TLS record of its own."""
    await attacker.greet()
    await attacker.send(attacker.headers(1, path="/toy.Toy/Total"))
    await attacker.send(frame(0, 0, 1, b"\0" + (4_000_000).to_bytes(4, "big")))
    while True:
        await attacker.send(frame(0, 0, 1, b"x"))


@_flood
async def tiny_data_on_many_streams(attacker: Attacker) -> None:
    """A few bytes a frame, not of one message but of ninety."""
    await attacker.greet()
    streams = range(1, 181, 2)
    for stream_id in streams:
        await attacker.send(attacker.headers(stream_id, path="/toy.Toy/Total"))
        await attacker.send(frame(0, 0, stream_id, b"\0" + (100_000).to_bytes(4, "big")))
    while True:
        await attacker.send(b"".join(frame(0, 0, each, b"x" * 40) for each in streams))


@_flood
async def late_tiny_data(attacker: Attacker) -> None:
    """On a stream that the server has answered and reset."""
    await attacker.greet()
    await attacker.send(attacker.headers(1, path="/no/thing"))
    while True:
        await attacker.send(frame(0, 0, 1, b"x") * 1_500)


@_flood
async def padded_tiny_data(attacker: Attacker) -> None:
    """One byte and 255 of padding: over the size that the budget for padding looks at."""
    await attacker.greet()
    await attacker.send(attacker.headers(1, path="/toy.Toy/Total"))
    await attacker.send(frame(0, 0, 1, b"\0" + (4_000_000).to_bytes(4, "big")))
    while True:
        await attacker.send(frame(0, 0x8, 1, b"\xff" + b"x" * 2 + bytes(255)) * 60)


@_flood
async def unknown_frames_of_many_kinds(attacker: Attacker) -> None:
    """With bodies as large as they may be."""
    await attacker.greet()
    while True:
        await attacker.send(b"".join(frame(kind, 0xFF, 1, bytes(500)) for kind in range(16, 48)))


@_flood
async def window_updates_of_streams(attacker: Attacker) -> None:
    await attacker.greet()
    await attacker.send(attacker.headers(1))
    while True:
        await attacker.send(frame(8, 0, 1, b"\0\0\0\x01") * 1_000)


@_flood
async def ping_answers(attacker: Attacker) -> None:
    """To questions that nobody asked."""
    await attacker.greet()
    while True:
        await attacker.send(frame(6, 1, 0, b"12345678") * 500)


@_flood
async def settings_answers(attacker: Attacker) -> None:
    await attacker.greet()
    while True:
        await attacker.send(frame(4, 1, 0) * 500)


@_flood
async def goaway_flood(attacker: Attacker) -> None:
    await attacker.greet()
    while True:
        await attacker.send(frame(7, 0, 0, bytes(8)) * 500)


# Streams.


@_flood
async def odd_trailers(attacker: Attacker) -> None:
    """Trailers that no request has: a field that is malformed."""
    trailers = attacker.encoder.encode([("Odd", "x")])

    def made(stream_id: int) -> bytes:
        return attacker.headers(stream_id) + frame(1, 0x5, stream_id, trailers)

    await _calls(attacker, made)


@_flood
async def good_trailers(attacker: Attacker) -> None:
    """Allowed, though gRPC has none, and in place of the message."""
    trailers = attacker.encoder.encode([("x-odd", "x" * 500)])

    def made(stream_id: int) -> bytes:
        return attacker.headers(stream_id) + frame(1, 0x5, stream_id, trailers)

    await _calls(attacker, made)


@_flood
async def heads_of_many_fields(attacker: Attacker) -> None:
    """One in each write, of fields that stay in the table: as much work as so few bytes can be."""
    fields = [(name, "/no/thing" if name == ":path" else value) for name, value in GRPC_HEADERS]
    block = attacker.stateless(fields) + b"\x40\x01x\x00" * 200
    await attacker.greet()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attacker.read_to_end)
        for stream_id in count(1, 2):
            await attacker.send(frame(1, 0x5, stream_id, block))


@_flood
async def kept_huffman(attacker: Attacker) -> None:
    """Blocks that are too large, of strings that have to be decoded as they stay in the table."""
    block = (b"\x40\x01x\xff\xc5\x12" + b"\x1f" * 2_500) * 19
    parts = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    await attacker.greet()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(attacker.read_to_end)
        for stream_id in count(1, 2):
            data = frame(1, 0x1, stream_id, parts[0])
            data += b"".join(frame(9, 0, stream_id, part) for part in parts[1:-1])
            await attacker.send(data + frame(9, 0x4, stream_id, parts[-1]))


def _made_you_reset(name: str, provocation: Callable[[int], bytes]) -> None:
    async def attack(attacker: Attacker) -> None:
        def made(stream_id: int) -> bytes:
            call = attacker.headers(stream_id) + frame(0, 1, stream_id, bytes(5))
            return call + provocation(stream_id)

        await _calls(attacker, made)

    FLOODS[f"made_you_reset_by_{name}"] = attack


_made_you_reset("window_overflow", lambda stream_id: frame(8, 0, stream_id, b"\x7f\xff\xff\xff"))
_made_you_reset("empty_window", lambda stream_id: frame(8, 0, stream_id, bytes(4)))
_made_you_reset("data_after_the_end", lambda stream_id: frame(0, 1, stream_id, b"x"))
_made_you_reset("headers_after_the_end", lambda stream_id: frame(1, 0x5, stream_id, b"\x88"))
_made_you_reset("short_priority", lambda stream_id: frame(2, 0, stream_id, bytes(4)))


@_flood
async def deadlines_of_1_ns(attacker: Attacker) -> None:
    """Whole calls, over before they begin."""
    block = attacker.stateless(with_headers(("grpc-timeout", "1n")))

    def made(stream_id: int) -> bytes:
        return frame(1, 0x4, stream_id, block) + frame(0, 1, stream_id, bytes(5))

    await _calls(attacker, made)


@_flood
async def deadlines_of_1_ns_read(attacker: Attacker) -> None:
    """The same by somebody who reads the answers, and so is never held up."""
    block = attacker.stateless(with_headers(("grpc-timeout", "1n")))

    def made(stream_id: int) -> bytes:
        return frame(1, 0x4, stream_id, block) + frame(0, 1, stream_id, bytes(5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attacker.read_to_end)
        await _calls(attacker, made)


@_flood
async def whole_calls(attacker: Attacker) -> None:
    """Small ones, as fast as they go, by somebody who reads the answers."""
    block = attacker.stateless(GRPC_HEADERS)

    def made(stream_id: int) -> bytes:
        return frame(1, 0x4, stream_id, block) + frame(0, 1, stream_id, bytes(5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attacker.read_to_end)
        await _calls(attacker, made)


@_flood
async def resets_of_streams_of_output(attacker: Attacker) -> None:
    """Each asked for, begun, and reset."""
    await attacker.greet()
    body = attacker.output_request
    for begin in count(1, 20):
        ids = range(begin, begin + 20, 2)
        path = "/toy.Toy/Flood"
        asked = [attacker.headers(each, path=path) + frame(0, 1, each, body) for each in ids]
        await attacker.send(b"".join(asked))
        await attacker.send(b"".join(frame(3, 0, each, b"\0\0\0\x08") for each in ids))


# Messages.


def _large_start(name: str, field: bytes) -> None:
    """4 MiB of ``field`` again and again, which costs far more to parse than to send."""

    async def attack(attacker: Attacker) -> None:
        whole = b"\x38\x01" + field * (4_194_000 // len(field))
        whole = b"\0" + len(whole).to_bytes(4, "big") + whole
        frames = [whole[at : at + 16_384] for at in range(0, len(whole), 16_384)]
        await attacker.greet()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attacker.read_to_end)
            for stream_id in count(1, 2):
                path = "/teleport.CommandService/Start"
                await attacker.send(attacker.headers(stream_id, path=path))
                for each in frames:
                    await attacker.send(frame(0, 0, stream_id, each))
                await attacker.send(frame(0, 1, stream_id))

    FLOODS[f"large_start_of_{name}"] = attack


# By proto/teleport/command.proto: StartRequest's repeated fields, each empty; validate_only.
_large_start("empty_arguments", b"\x12\x00")
_large_start("empty_argv", b"\x1a\x00")
_large_start("empty_env", b"\x2a\x00")


# Connections.


class _Opened:
    """Non-blocking sockets of which the oldest makes room, each connecting as it is made."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)
        self._open: dict[socket.socket, None] = {}

    def connect(self, *, reset: bool = False) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        if reset:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        made.connect_ex(self._address)
        self._open[made] = None
        if len(self._open) > _OPEN:
            self.close(next(iter(self._open)))
        return made

    def close(self, each: socket.socket) -> None:
        del self._open[each]
        each.close()

    def close_all(self) -> None:
        for each in list(self._open):
            self.close(each)


async def _connects(port: int, *, reset: bool = False, per_s: float = 0, said: bytes = b"") -> None:
    """As many as can be, or ``per_s``; closed when 2,500 newer ones are there."""
    opened = _Opened(port)
    try:
        begin, made = trio.current_time(), 0
        while True:
            for _ in range(_CONNECTS_A_TURN):
                each = opened.connect(reset=reset)
                made += 1
                with contextlib.suppress(OSError):
                    each.send(said)
            pause_s = begin + made / per_s - trio.current_time() if per_s else 0
            await trio.sleep(max(0, pause_s))
    finally:
        opened.close_all()


@_flood_on_tcp
async def connects(port: int, _: Path) -> None:
    await _connects(port)


@_flood_on_tcp
async def connects_and_resets(port: int, _: Path) -> None:
    await _connects(port, reset=True)


@_flood_on_tcp
async def silent_connects(port: int, _: Path) -> None:
    """At the rate at which 256 of them are gone within a round trip of 170 ms."""
    await _connects(port, per_s=1_500)


@_flood_on_tcp
async def connects_with_a_byte(port: int, _: Path) -> None:
    """Who has sent nothing gives way: so these send the first byte of a record."""
    await _connects(port, per_s=1_500, said=b"\x16")


@_flood_on_tcp
async def connects_with_no_tls(port: int, _: Path) -> None:
    await _connects(port, per_s=1_500, said=b"GET / HTTP/1.1\r\n\r\n")


@_flood_on_tcp
async def connects_with_a_hello(port: int, directory: Path) -> None:
    """A handshake's costly half, again and again, by who needs no certificate for it."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.set_alpn_protocols(["h2"])
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    await _connects(port, per_s=1_500, said=outgoing.read())


@_flood_on_tcp
async def handshakes_without_a_certificate(port: int, directory: Path) -> None:
    """To their end, which is a refusal."""
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.set_alpn_protocols(["h2"])
    while True:
        tcp = await trio.open_tcp_stream("127.0.0.1", port)
        stream = trio.SSLStream(tcp, context, server_hostname="localhost", https_compatible=True)
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.do_handshake()
            await stream.receive_some(1)
        await trio.aclose_forcefully(stream)
