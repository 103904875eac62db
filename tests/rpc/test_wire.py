"""Requests and frames that no well-behaved client sends, over real TLS."""

import contextlib

import h2.events
import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue
from hyperframe.frame import GoAwayFrame
from patience import patient, slowness
from pki import shared_pki
from raw import PREFACE, RawClient, frame, message, raw_client, with_headers
from toy import SERVICE, Running, serving
from wire import connected

from penstock.rpc.call_errors import StatusCode
from penstock.rpc.limits import Rate

HELLO = message(BytesValue(value=b"hello").SerializeToString())
SETTINGS = frame(4, 0, 0)
ENHANCE_YOUR_CALM, PROTOCOL_ERROR, FRAME_SIZE_ERROR, REFUSED_STREAM = 11, 1, 6, 7


async def assert_lives(running: Running, client: RawClient) -> None:
    """The connection that misbehaved in one call still serves another."""
    stream_id = await client.request(data=HELLO)
    assert (await client.answer(stream_id))["grpc-status"] == "0"


async def assert_serves(running: Running) -> None:
    async with running.channel("bob") as channel:
        await channel.unary(SERVICE, "Echo", BytesValue(), BytesValue)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((":path", "/toy.Toy/Nothing"), StatusCode.UNIMPLEMENTED),
        ((":path", "/no.Service/Echo"), StatusCode.UNIMPLEMENTED),
        ((":path", "/toy.Toy"), StatusCode.UNIMPLEMENTED),
        ((":path", "/a/b/c"), StatusCode.UNIMPLEMENTED),
        ((":path", "*"), StatusCode.UNIMPLEMENTED),
        (("te", None), StatusCode.INVALID_ARGUMENT),
        (("grpc-timeout", "0S"), StatusCode.DEADLINE_EXCEEDED),
        (("grpc-timeout", "-1S"), StatusCode.INVALID_ARGUMENT),
        (("grpc-timeout", "soon"), StatusCode.INVALID_ARGUMENT),
        (("grpc-timeout", "123456789S"), StatusCode.INVALID_ARGUMENT),
        (("grpc-timeout", "99999999H"), StatusCode.OK),
        (("grpc-encoding", "gzip"), StatusCode.UNIMPLEMENTED),
        (("grpc-encoding", "identity"), StatusCode.OK),
        (("data-bin", "!!!"), StatusCode.INVALID_ARGUMENT),
        (("content-type", "application/grpc+proto"), StatusCode.OK),
    ],
)
async def test_request_headers(change: tuple[str, str | None], expected: StatusCode) -> None:
    """A clean status on that call only."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            stream_id = await client.request(with_headers(change), HELLO)
            assert (await client.answer(stream_id))["grpc-status"] == str(expected.value)
            await assert_lives(running, client)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (("content-type", "application/json"), "415"),
        (("content-type", "application/grpcish"), "415"),
        (("content-type", None), "415"),
        ((":method", "GET"), "405"),
    ],
)
async def test_not_grpc(change: tuple[str, str | None], status: str) -> None:
    """HTTP that is not gRPC gets an HTTP status."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            stream_id = await client.request(with_headers(change), HELLO)
            assert (await client.answer(stream_id))[":status"] == status
            await assert_lives(running, client)


@pytest.mark.parametrize(
    "change",
    [
        ("Upper", "case"),
        ("cr", "a\rb"),
        ("lf", "a\nb"),
        ("nul", "a\0b"),
        ("space", " a"),
        ("na me", "value"),
        ("connection", "close"),
        (":unknown", "pseudo"),
        (":path", None),
        (":scheme", None),
        ("te", "gzip"),
    ],
)
async def test_malformed_fields(change: tuple[str, str | None]) -> None:
    """RFC 9113 8.1.1: a stream error, siblings live."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            stream_id = await client.request(with_headers(change), HELLO)
            reset = await client.wait_for(h2.events.StreamReset, stream_id)
            assert reset.error_code == PROTOCOL_ERROR
            await assert_lives(running, client)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", StatusCode.INVALID_ARGUMENT),
        (HELLO + HELLO, StatusCode.INVALID_ARGUMENT),
        (HELLO[:-1], StatusCode.INVALID_ARGUMENT),
        (HELLO[:3], StatusCode.INVALID_ARGUMENT),
        (message(b"\xff\xff\xff"), StatusCode.INVALID_ARGUMENT),
        (message(b"x", flag=1), StatusCode.INTERNAL),
        (message(b"x", flag=7), StatusCode.INTERNAL),
        (b"\0\xff\xff\xff\xff" + b"x" * 100, StatusCode.RESOURCE_EXHAUSTED),
    ],
)
async def test_messages(data: bytes, expected: StatusCode) -> None:
    """None, two, torn, unreadable, compressed, 4 GiB declared: that call only."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            stream_id = await client.request(data=data)
            assert (await client.answer(stream_id))["grpc-status"] == str(expected.value)
            await assert_lives(running, client)


async def test_compressed_message() -> None:
    """With its encoding named, it is an encoding that we do not implement."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            headers = with_headers(("grpc-encoding", "gzip"))
            stream_id = await client.request(headers, message(b"x", flag=1))
            code = (await client.answer(stream_id))["grpc-status"]
            assert code == str(StatusCode.UNIMPLEMENTED.value)


async def test_request_that_never_comes() -> None:
    """A call that needs one message does not wait for it without end."""
    async with serving(shared_pki(), request_s=0.05) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            stream_id = await client.request()
            code = (await client.answer(stream_id))["grpc-status"]
            assert code == str(StatusCode.DEADLINE_EXCEEDED.value)
            await assert_lives(running, client)


async def test_one_stream_too_many() -> None:
    """REFUSED_STREAM for it; its siblings live."""
    async with serving(shared_pki(), streams=2) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            waits = with_headers((":path", f"/{SERVICE}/Wait"))
            siblings = [await client.request(waits, message(b"")) for _ in range(2)]
            extra = await client.request(waits, message(b""))
            reset = await client.wait_for(h2.events.StreamReset, extra)
            assert reset.error_code == REFUSED_STREAM
            running.toy.release.set()
            for stream_id in siblings:
                assert (await client.answer(stream_id))["grpc-status"] == "0"


async def test_opened_and_reset() -> None:
    """Rapid reset: the budget ends the connection, handlers never exceed the cap."""
    async with serving(shared_pki(), resets=Rate(50, 0.0)) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            waits = with_headers((":path", f"/{SERVICE}/Wait"))
            for _ in range(100):
                stream_id = await client.request(waits, message(b""))
                client.h2.reset_stream(stream_id, 8)
            await client.flush()
            assert await client.go_away_code() == ENHANCE_YOUR_CALM
        assert running.toy.most_running <= 100
        await assert_serves(running)
        assert running.server.statistics().ended["RST_STREAM"] == 1


@pytest.mark.parametrize(
    ("name", "flood"),
    [
        ("PING", frame(6, 0, 0, b"12345678")),
        ("SETTINGS", SETTINGS),
        ("PRIORITY", frame(2, 0, 1, b"\0\0\0\0\x10")),
        ("WINDOW_UPDATE", frame(8, 0, 0, b"\0\0\0\x01")),
        ("RST_STREAM", frame(3, 0, 1, b"\0\0\0\x08")),
        ("unknown frames", frame(0xBE, 0, 0, b"x")),
    ],
)
async def test_floods(name: str, flood: bytes) -> None:
    """A budget for each kind; GOAWAY ENHANCE_YOUR_CALM, also if nothing is read meanwhile."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            await assert_lives(running, client)  # stream 1 exists and has ended
            try:
                for _ in range(50):
                    await client.send(flood * 100)
            except trio.BrokenResourceError:
                pass
            assert await client.go_away_code() == ENHANCE_YOUR_CALM
        await assert_serves(running)
        assert running.server.statistics().ended[name] == 1


async def test_endless_continuation() -> None:
    async with serving(shared_pki()) as running:
        async with connected(running) as wire:
            await wire.send(frame(1, 0, 1, b"") + frame(9, 0, 1, b"") * 50)
            await wire.rst(1, ENHANCE_YOUR_CALM)
            await wire.goaway(ENHANCE_YOUR_CALM)
        await assert_serves(running)


async def test_header_list_too_long() -> None:
    """By bytes on the wire, and by bytes after decompression: its call is refused."""
    bomb = with_headers(("bomb", "x" * 4000))
    bomb += [("bomb", "x" * 4000)] * 100
    for headers in (bomb, with_headers(*((f"n{i}", "y" * 900) for i in range(15)))):
        async with serving(shared_pki()) as running:
            async with raw_client(running.port, shared_pki().client_context()) as client:
                stream_id = await client.request(headers, HELLO)
                answer = await client.answer(stream_id)
                assert answer["grpc-status"] == str(StatusCode.RESOURCE_EXHAUSTED.value)
                await assert_lives(running, client)
            await assert_serves(running)


async def test_oversize_frame_is_refused_by_its_header() -> None:
    """Nine bytes that declare 16 MB are enough."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            await client.send(b"\xff\xff\xff\0\0\0\0\0\x01")
            assert await client.go_away_code() == FRAME_SIZE_ERROR
        await assert_serves(running)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"\0" * 100,
        PREFACE + frame(6, 0, 0, b"12345678"),
        PREFACE + SETTINGS + frame(9, 4, 1, b"x"),
        PREFACE + SETTINGS + frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff"),
        PREFACE + SETTINGS + frame(5, 4, 1, b"\0\0\0\x02"),
        PREFACE + SETTINGS + frame(0, 0, 1, b"x"),
        PREFACE + SETTINGS + frame(8, 0, 0, b"\0\0\0\0"),
        PREFACE + SETTINGS + frame(8, 0, 0, b"\x7f\xff\xff\xff"),
        PREFACE + SETTINGS + frame(1, 4, 2, b"\x82"),
        PREFACE + frame(4, 0, 0, b"\0\x05\0\0\0\0"),
        PREFACE + SETTINGS + frame(6, 0, 0, b"short"),
    ],
)
async def test_connection_errors(data: bytes) -> None:
    """Only that connection ends, with a GOAWAY that arrives."""
    async with serving(shared_pki()) as running:
        async with connected(running, greet=False) as wire:
            await wire.send(data)
            goaway = await wire.expect(GoAwayFrame)
            assert goaway.error_code != 0
        await assert_serves(running)


async def test_half_a_preface() -> None:
    async with serving(shared_pki(), preface_s=0.05) as running:
        context = shared_pki().client_context()
        async with raw_client(running.port, context, start=False) as client:
            await client.send(PREFACE[:10])
            with trio.fail_after(2 * slowness()):
                await client.wait_closed()


async def test_late_frames_of_ended_streams() -> None:
    """RFC 9113 5.1: WINDOW_UPDATE and RST_STREAM may arrive after a stream's end."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            first = await client.request(data=HELLO)
            await client.answer(first)
            await assert_lives(running, client)  # h2 forgets the first stream here
            await client.send(frame(8, 0, first, b"\0\0\x10\0") + frame(3, 0, first, b"\0\0\0\x08"))
            await assert_lives(running, client)


async def test_data_after_our_reset() -> None:
    """What was under way when a call was refused is dropped without another reset."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            stream_id = await client.request(with_headers(("content-type", "text/plain")))
            await client.answer(stream_id)
            await client.send(frame(0, 0, stream_id, b"x" * 1000) * 5)
            await client.send(frame(0, 1, stream_id, b"x"))
            await assert_lives(running, client)
            resets = [e for e in client.events if isinstance(e, h2.events.StreamReset)]
            assert len(resets) <= 1


async def test_settings_of_unknown_kind() -> None:
    """They are not kept: 65,536 of them would be megabytes in each connection."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            body = b"".join(i.to_bytes(2, "big") + b"\0\0\0\x01" for i in range(1000, 3000))
            await client.send(frame(4, 0, 0, body))
            await assert_lives(running, client)


async def test_replies_that_are_not_read_stop_the_reader() -> None:
    """PING answers wait in a bounded buffer, then nothing more is read."""
    async with serving(
        shared_pki(), pings=Rate(10**9, 0.0), outbound_bytes=20_000, write_stall_s=0.2
    ) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            with contextlib.suppress(trio.BrokenResourceError), trio.fail_after(patient(25)):
                while True:
                    await client.send(frame(6, 0, 0, b"12345678") * 1000)
            await assert_serves(running)
        while running.server.statistics().connections:
            await trio.testing.wait_all_tasks_blocked()
        assert running.server.statistics().ended["write_stall"] == 1
