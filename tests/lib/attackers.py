"""Hostile clients in a process of their own: ``python attackers.py DIRECTORY PORT KIND COUNT``.

Each connection does its worst again and again, connecting anew when it is thrown out,
until standard input ends. Says ``ready`` when all have been connected once. A fifth argument
is the pause in seconds before one that was thrown out comes back, a sixth what the attacked
server has in place of the toy's, as JSON: ``paths`` by the toy's, and ``output_request``, the
message that asks for a stream of output, as hexadecimal digits.
"""

import contextlib
import json
import os
import resource
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio
from floods import FLOODS, FLOODS_ON_TCP
from hpack import Encoder
from raw import GRPC_HEADERS, PREFACE, frame
from tls_by_hand import agreed, hello_in_pieces

from penstock.rpc.tls.contexts import client_ssl_context

TARGET: dict[str, Any] = {"paths": {}, "output_request": ""}
Attack = Callable[["Attacker"], Awaitable[None]]
ATTACKS: dict[str, Attack] = {}


class Attacker:
    """One TLS connection; ``send`` gives up when the server has closed."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.encoder = Encoder()
        message = bytes.fromhex(TARGET["output_request"])
        self.output_request = b"\0" + len(message).to_bytes(4, "big") + message

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def greet(self) -> None:
        await self.send(PREFACE + frame(4, 0, 0))

    async def read_to_end(self) -> None:
        while await self._stream.receive_some(65_536):
            pass

    def headers(self, stream_id: int, *, end: bool = False, path: str = "/toy.Toy/Wait") -> bytes:
        path = TARGET["paths"].get(path, path)
        fields = [(name, path if name == ":path" else value) for name, value in GRPC_HEADERS]
        return frame(1, 0x4 | (0x1 if end else 0), stream_id, self.encoder.encode(fields))

    def stateless(self, fields: Sequence[tuple[str, str]]) -> bytes:
        """A header block that may be sent again and again."""
        encoder = Encoder()
        encoder.header_table_size = 0
        encoder.encode([])  # takes the change of size with it
        paths = TARGET["paths"]
        return bytes(encoder.encode([(name, paths.get(value, value)) for name, value in fields]))


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


async def _flood(attacker: Attacker, data: bytes) -> None:
    await attacker.greet()
    while True:
        await attacker.send(data)


@attack
async def silent_after_tls(attacker: Attacker) -> None:
    await attacker.read_to_end()


@attack
async def half_preface(attacker: Attacker) -> None:
    await attacker.send(PREFACE[:10])
    await attacker.read_to_end()


@attack
async def random_bytes(attacker: Attacker) -> None:
    await attacker.send(os.urandom(16_384))
    await attacker.read_to_end()


@attack
async def random_frames(attacker: Attacker) -> None:
    await attacker.greet()
    while True:
        await attacker.send(frame(os.urandom(1)[0] % 10, os.urandom(1)[0], 1, os.urandom(20)))


@attack
async def idle(attacker: Attacker) -> None:
    await attacker.greet()
    await attacker.read_to_end()


@attack
async def rapid_reset(attacker: Attacker) -> None:
    await attacker.greet()
    stream_id = 1
    while True:
        data = b""
        for _ in range(100):
            data += attacker.headers(stream_id) + frame(3, 0, stream_id, b"\0\0\0\x08")
            stream_id += 2
        await attacker.send(data)


@attack
async def provoked_resets(attacker: Attacker) -> None:
    await attacker.greet()
    stream_id = 1
    while True:
        data = b""
        for _ in range(100):
            data += attacker.headers(stream_id) + frame(8, 0, stream_id, bytes(4))
            stream_id += 2
        await attacker.send(data)


@attack
async def data_after_the_end(attacker: Attacker) -> None:
    await attacker.greet()
    stream_id = 1
    while True:
        data = b""
        for _ in range(100):
            data += attacker.headers(stream_id, end=True) + frame(0, 0, stream_id, b"x")
            stream_id += 2
        await attacker.send(data)


@attack
async def malformed_requests(attacker: Attacker) -> None:
    await attacker.greet()
    stream_id = 1
    while True:
        data = b""
        for _ in range(100):
            data += frame(1, 0x5, stream_id, attacker.encoder.encode([("Upper", "x")]))
            stream_id += 2
        await attacker.send(data)


@attack
async def endless_continuation(attacker: Attacker) -> None:
    await attacker.greet()
    await attacker.send(frame(1, 0, 1, b"\x00\x01a\x01b"))
    while True:
        await attacker.send(frame(9, 0, 1, b"\x00\x01a\x01b"))


@attack
async def empty_continuation(attacker: Attacker) -> None:
    await attacker.greet()
    await attacker.send(frame(1, 0, 1))
    while True:
        await attacker.send(frame(9, 0, 1) * 1_000)


@attack
async def hpack_bomb(attacker: Attacker) -> None:
    await attacker.greet()
    big = attacker.encoder.encode([*GRPC_HEADERS, ("x", "y" * 3_000)])
    await attacker.send(frame(1, 0x4, 1, big) + frame(1, 0x4, 3, b"\xbe" * 16_000))
    await attacker.read_to_end()


@attack
async def large_headers(attacker: Attacker) -> None:
    """As long as the limit allows, in the slowest coding, for calls that end at once."""
    await attacker.greet()
    fields = [*GRPC_HEADERS, ("x", "~" * 7_000)]
    fields = [(name, "/no/thing" if name == ":path" else value) for name, value in fields]
    stateless = Encoder()
    stateless.header_table_size = 0
    stateless.encode([])
    block = bytes(stateless.encode(fields, huffman=True))
    for stream_id in range(1, 2**31, 2):
        await attacker.send(frame(1, 0x5, stream_id, block) + frame(3, 0, stream_id, bytes(4)))


@attack
async def table_updates(attacker: Attacker) -> None:
    """On a stream that the server has reset, where nothing is answered."""
    await attacker.greet()
    block = frame(1, 0x4, 1, b"\x20" * 16_375)
    while True:
        await attacker.send(block)


@attack
async def headers_after_a_reset(attacker: Attacker) -> None:
    await attacker.greet()
    fields = [(f"x-{number}", "v" * 60) for number in range(60)]
    await attacker.send(frame(1, 0x4, 1, attacker.encoder.encode(fields)))
    while True:
        await attacker.send(frame(1, 0x4, 1, b"\xbe" * 75) * 200)


@attack
async def pinned_blocks(attacker: Attacker) -> None:
    """A table whose small entries would hold the large blocks that they came in."""
    await attacker.greet()
    filler = b"\x00\x01c\x7f\xd9\x35" + b"x" * 7_000
    for number in range(140):
        name = b"\x40\x02a" + bytes((0x30 + number % 64,))
        await attacker.send(frame(1, 0x4, 2 * number + 1, name + b"\x00" + filler))
    await attacker.read_to_end()


@attack
async def ping_flood_unread(attacker: Attacker) -> None:
    await _flood(attacker, frame(6, 0, 0, b"12345678") * 500)


@attack
async def settings_flood(attacker: Attacker) -> None:
    await _flood(attacker, frame(4, 0, 0, b"\0\x04\0\0\xff\xff" * 100) * 20)


@attack
async def priority_flood(attacker: Attacker) -> None:
    await _flood(attacker, frame(2, 0, 1, bytes(5)) * 1_000)


@attack
async def window_updates_of_1(attacker: Attacker) -> None:
    await _flood(attacker, frame(8, 0, 0, b"\0\0\0\x01") * 1_000)


@attack
async def unknown_frames(attacker: Attacker) -> None:
    await _flood(attacker, frame(0x42, 0, 0, b"x") * 1_000)


@attack
async def empty_data(attacker: Attacker) -> None:
    await attacker.greet()
    await attacker.send(attacker.headers(1))
    while True:
        await attacker.send(frame(0, 0, 1) * 1_000)


@attack
async def padding(attacker: Attacker) -> None:
    await attacker.greet()
    await attacker.send(attacker.headers(1))
    while True:
        await attacker.send(frame(0, 0x8, 1, b"\xff" + bytes(255)) * 50)


@attack
async def frame_of_16_mb(attacker: Attacker) -> None:
    await attacker.greet()
    await attacker.send(b"\xff\xff\xff\0\0\0\0\0\x01")
    while True:
        await attacker.send(bytes(65_536))


@attack
async def message_of_4_gib(attacker: Attacker) -> None:
    await attacker.greet()
    await attacker.send(attacker.headers(1) + frame(0, 0, 1, b"\0\xff\xff\xff\xff"))
    while True:
        await attacker.send(frame(0, 0, 1, bytes(16_000)))


@attack
async def unfinished_messages(attacker: Attacker) -> None:
    await attacker.greet()
    head = b"\0" + (4_000_000).to_bytes(4, "big")
    for number in range(100):
        stream_id = 2 * number + 1
        begin = attacker.headers(stream_id, path="/toy.Toy/Total") + frame(0, 0, stream_id, head)
        await attacker.send(begin)
    while True:
        for number in range(100):
            await attacker.send(frame(0, 0, 2 * number + 1, bytes(8_000)))


@attack
async def empty_messages(attacker: Attacker) -> None:
    """3,270 of them in a frame, as fast as the windows let them through."""
    await attacker.greet()
    for stream_id in range(1, 2**31, 2):
        await attacker.send(attacker.headers(stream_id, path="/toy.Toy/Total"))
        for _ in range(64):
            await attacker.send(frame(0, 0, stream_id, bytes(16_350)))
        await attacker.send(frame(3, 0, stream_id, bytes(4)))


@attack
async def floods_never_read(attacker: Attacker) -> None:
    await attacker.greet()
    await attacker.send(frame(4, 0, 0, b"\0\x04\x7f\xff\xff\xff") + frame(8, 0, 0, b"\x7f\0\0\0"))
    for number in range(5):
        stream_id = 2 * number + 1
        request = attacker.headers(stream_id, path="/toy.Toy/Flood")
        await attacker.send(request + frame(0, 1, stream_id, attacker.output_request))
    await trio.sleep_forever()


@attack
async def streams_over_the_limit(attacker: Attacker) -> None:
    await attacker.greet()
    stream_id = 1
    while True:
        data = b""
        for _ in range(50):
            data += attacker.headers(stream_id) + frame(0, 1, stream_id, bytes(5))
            stream_id += 2
        await attacker.send(data)


@attack
async def compressed_messages(attacker: Attacker) -> None:
    await attacker.greet()
    stream_id = 1
    while True:
        data = b""
        for _ in range(20):
            data += attacker.headers(stream_id) + frame(0, 1, stream_id, b"\1\0\0\0\1x")
            stream_id += 2
        await attacker.send(data)
        await attacker._stream.receive_some(65_536)


async def _silent_tcp(port: int, _: Path, *, byte_by_byte: bool) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as tcp:
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)
        for byte in hello if byte_by_byte else b"":
            await tcp.send_all(bytes((byte,)))
            await trio.sleep(0.2)
        await tcp.receive_some(1)


async def _hello_in_pieces(port: int, _: Path) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as tcp:
        await tcp.send_all(HELLO_IN_PIECES)
        await tcp.receive_some(1)


async def _key_updates(port: int, directory: Path) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", port) as tcp:
        writer = await agreed(tcp, _context(directory))
        await tcp.send_all(writer.record(PREFACE + frame(4, 0, 0)))
        while True:
            await tcp.send_all(b"".join(writer.key_update() for _ in range(600)))


HELLO_IN_PIECES = hello_in_pieces(131_000)
ON_TCP: dict[str, Callable[[int, Path], Awaitable[None]]] = {
    "silent_tcp": partial(_silent_tcp, byte_by_byte=False),
    "slow_handshake": partial(_silent_tcp, byte_by_byte=True),
    "hello_in_pieces": _hello_in_pieces,
    "key_updates": _key_updates,
    **FLOODS_ON_TCP,
}
ATTACKS |= FLOODS


def _context(directory: Path) -> ssl.SSLContext:
    return client_ssl_context(
        directory / "alice.crt", directory / "alice.key", directory / "ca.crt"
    )


async def _once(kind: str, port: int, directory: Path, context: ssl.SSLContext) -> None:
    if kind in ON_TCP:
        await ON_TCP[kind](port, directory)
        return
    tcp = await trio.open_tcp_stream("127.0.0.1", port)
    stream = trio.SSLStream(tcp, context, server_hostname="localhost", https_compatible=True)
    try:
        await stream.do_handshake()
        await ATTACKS[kind](Attacker(stream))
    finally:
        await trio.aclose_forcefully(stream)


async def main(directory: Path, port: int, kind: str, count: int, pause_s: float) -> None:
    context = _context(directory)

    async def one() -> None:
        while True:
            with contextlib.suppress(
                OSError, EOFError, trio.BrokenResourceError, trio.ClosedResourceError
            ):
                await _once(kind, port, directory, context)
            # Thrown out: a hostile client comes back, but its own machine must breathe, too.
            await trio.sleep(pause_s)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


KINDS = (*ON_TCP, *ATTACKS)

if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    number, kind, count = int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    pause_s = float(sys.argv[5]) if len(sys.argv) > 5 else 0.25
    if len(sys.argv) > 6:
        TARGET.update(json.loads(sys.argv[6]))
    trio.run(main, Path(sys.argv[1]), number, kind, count, pause_s)
