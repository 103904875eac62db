"""Everything that is refused is counted by kind and told, and the log cannot be flooded."""

import logging
from typing import Any

import pytest
import trio
from pki import shared_pki
from raw import GRPC_HEADERS, message, with_headers
from toy import serving
from wire import HELLO, Wire, connected, data, window

from penstock.rpc.rejections import Rejections

LOGGER = "penstock.rpc"
NAMED = with_headers(("grpc-encoding", "gzip"), (":path", "/toy.Toy/Total"))


@pytest.mark.parametrize(
    ("kind", "fields", "body"),
    [
        ("unknown_service", with_headers((":path", "/no.Service/Echo")), HELLO),
        ("unknown_method", with_headers((":path", "/toy.Toy/Nope")), HELLO),
        ("path", with_headers((":path", "/toy.Toy")), HELLO),
        ("encoding", with_headers(("grpc-encoding", "gzip")), HELLO),
        ("te", with_headers(("te", None)), HELLO),
        ("timeout", with_headers(("grpc-timeout", "1x")), HELLO),
        ("metadata", with_headers(("x-bin", "!")), HELLO),
        ("http_405", with_headers((":method", "GET")), HELLO),
        ("http_415", with_headers(("content-type", "text/html")), HELLO),
        ("malformed", with_headers(("connection", "close")), HELLO),
        ("stream_error", with_headers(("content-length", "3")), HELLO),
        ("message_bytes", GRPC_HEADERS, b"\0\xff\xff\xff\xff"),
        ("compressed_flag", GRPC_HEADERS, b"\1\0\0\0\1x"),
        ("second_message", GRPC_HEADERS, HELLO + HELLO),
        ("no_message", GRPC_HEADERS, b""),
        ("truncated", GRPC_HEADERS, HELLO[:-1]),
        ("unparsable", GRPC_HEADERS, message(b"\xff\xff")),
        ("unfinished_bytes", GRPC_HEADERS, message(bytes(3_000))),
    ],
)
async def test_each_kind_is_counted_and_told(
    kind: str, fields: Any, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """One counter and one line of log for each."""
    caplog.set_level(logging.INFO, LOGGER)
    async with serving(shared_pki(), unfinished_bytes=2_000) as running:
        async with connected(running) as wire:
            await wire.send(wire.headers(1, fields), data(1, body, end=True))
            await wire.lives()
            await _counted(running.server, kind)
        assert running.server.statistics().refused == {kind: 1}
    (line,) = [each for each in caplog.messages if "refused" in each]
    assert f"({kind})" in line


async def _counted(server: Any, kind: str) -> None:
    while kind not in server.statistics().refused:  # noqa: ASYNC110 - nothing tells of it
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("kind", ["stream_error", "request_timeout", "stalled", "not_accepting"])
async def test_what_takes_time_or_a_state_is_counted(kind: str) -> None:
    """WINDOW_UPDATE of 0, a request that does not come, a reader that does not read."""
    async with serving(shared_pki(), request_s=0.02, stream_stall_s=0.02) as running:
        async with connected(running) as wire:
            await _provoke(kind, wire, running.server)
            await _counted(running.server, kind)
            await wire.lives()
        assert running.server.statistics().refused == {kind: 1}


async def _provoke(kind: str, wire: Wire, server: Any) -> None:
    match kind:
        case "stream_error":
            await wire.send(wire.headers(1), window(1, 0))
        case "request_timeout":
            await wire.send(wire.headers(1))
        case "stalled":
            await wire.send(wire.call(1, "/toy.Toy/Flood"))
        case _:
            server.accept_calls(False)
            await wire.send(wire.call(1))


async def test_an_unsupported_encoding_is_told_what_is_supported() -> None:
    """gRPC's compression: grpc-accept-encoding goes with UNIMPLEMENTED."""
    async with serving(shared_pki()) as running, connected(running) as wire:
        await wire.send(wire.headers(1, NAMED), data(1, HELLO, end=True))
        assert await wire.status(1) == "12"
        assert wire.seen[-1].fields["grpc-accept-encoding"] == "identity"


def test_lines_are_bounded_and_the_next_says_how_many(caplog: pytest.LogCaptureFixture) -> None:
    """Of each kind on its own; the counters have them all, escapes reach no terminal."""
    caplog.set_level(logging.INFO, LOGGER)
    now = 0.0
    refusals = Rejections(lambda: now)
    for _ in range(1_000):
        refusals.refused("flood", "\x1b[31mred")
    refusals.refused("other", "one")
    assert len(caplog.messages) == 20 + 1
    assert caplog.messages[0] == "?[31mred"
    now = 5.0
    refusals.refused("flood", "again")
    assert caplog.messages[-1] == "again (and 980 more of this kind)"
    assert refusals.counts == {"flood": 1_001, "other": 1}


async def test_connections_cannot_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each of the first, not of all that come and go."""
    caplog.set_level(logging.INFO, LOGGER)
    async with serving(shared_pki()) as running:
        for _ in range(100):
            async with await trio.open_tcp_stream("127.0.0.1", running.port) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
                while await stream.receive_some():
                    pass
        assert running.server.statistics().refused == {"handshake": 100}
    assert 20 <= len(caplog.messages) <= 30
