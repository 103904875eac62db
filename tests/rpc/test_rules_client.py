"""RFC 9113 and gRPC over HTTP/2 by rule, as our channel sees a server's mistakes."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)
from patience import patient
from raw import frame
from wire import (
    CALM,
    CANCEL,
    CLOSED,
    COMPRESSION,
    FLOW,
    HELLO,
    INTERNAL,
    NO_ERROR,
    OK,
    PROTOCOL,
    REFUSED,
    RESPONSE,
    SIZE,
    Wire,
    data,
    settings,
    to_client,
    window,
)

from penstock.rpc.call_errors import ConnectionLost, RpcError, StatusCode
from penstock.rpc.channel import Channel
from penstock.rpc.limits import CLIENT_DEFAULTS, Rate

Act = Callable[[Wire], Sequence[Frame | bytes]]


async def call(channel: Channel) -> BytesValue:
    return await channel.unary("toy.Toy", "Echo", BytesValue(value=b"x"), BytesValue)


@asynccontextmanager
async def calling(act: Act) -> AsyncIterator[tuple[Wire, list[RpcError | None]]]:
    """A call is under way as stream 1, and ``act`` is sent; how it ended is in the list."""
    async with to_client() as (wire, channel):
        ended: list[RpcError | None] = []

        async def run() -> None:
            try:
                await call(channel)
                ended.append(None)
            except RpcError as error:
                ended.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await wire.expect(DataFrame)
            await wire.send(*act(wire))
            yield wire, ended


async def answered(act: Act) -> RpcError | None:
    async with calling(act) as (_, ended):
        pass
    return ended[0]


async def test_a_right_answer() -> None:
    """gRPC: headers, message, trailers."""
    assert (
        await answered(
            lambda w: (
                w.headers(1, RESPONSE),
                data(1, HELLO),
                w.headers(1, OK, ("END_HEADERS", "END_STREAM")),
            )
        )
        is None
    )


async def test_interim_responses_are_passed_over() -> None:
    """8.1: any number of 1xx before the response."""
    assert (
        await answered(
            lambda w: (
                w.headers(1, ((":status", "100"),)),
                w.headers(1, ((":status", "103"),)),
                w.headers(1, RESPONSE),
                data(1, HELLO),
                w.headers(1, OK, ("END_HEADERS", "END_STREAM")),
            )
        )
        is None
    )


async def test_an_interim_response_that_ends_the_stream() -> None:
    """8.1: malformed, a stream error of type PROTOCOL_ERROR."""
    flags = ("END_HEADERS", "END_STREAM")
    async with calling(lambda w: (w.headers(1, ((":status", "100"),), flags),)) as (wire, ended):
        await wire.rst(1, PROTOCOL)
    assert ended[0] is not None
    assert ended[0].code is StatusCode.INTERNAL


async def test_data_before_headers() -> None:
    """8.1: malformed, a stream error of type PROTOCOL_ERROR."""
    async with calling(lambda w: (data(1, HELLO),)) as (wire, ended):
        await wire.rst(1, PROTOCOL)
    assert ended[0] is not None


async def test_trailers_without_end_stream() -> None:
    """8.1: malformed, a stream error of type PROTOCOL_ERROR."""
    async with calling(lambda w: (w.headers(1, RESPONSE), w.headers(1, OK))) as (wire, ended):
        await wire.rst(1, PROTOCOL)
    assert ended[0] is not None


@pytest.mark.parametrize(
    "fields",
    [
        (("content-type", "application/grpc"),),
        ((":status", "200"), (":status", "200"), ("content-type", "application/grpc")),
        ((":status", "200"), ("Upper", "x"), ("content-type", "application/grpc")),
        ((":status", "200"), (":path", "/"), ("content-type", "application/grpc")),
        (("content-type", "application/grpc"), (":status", "200")),
        ((":status", "200"), ("connection", "close"), ("content-type", "application/grpc")),
    ],
    ids=["no status", "two", "upper", "request's", "late", "connection"],
)
async def test_malformed_responses(fields: Sequence[tuple[str, str]]) -> None:
    """8.3.2, 8.2: the call fails, the connection lives."""
    async with calling(lambda w: (w.headers(1, fields),)) as (wire, ended):
        reset = await wire.expect(RstStreamFrame)
        assert reset.error_code in (PROTOCOL, CANCEL)
        await wire.lives()
    assert ended[0] is not None


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda w: (w.headers(2, RESPONSE),), PROTOCOL),
        (lambda w: (w.headers(3, RESPONSE),), PROTOCOL),
        (lambda w: (data(3, HELLO),), PROTOCOL),
        (lambda w: (frame(5, 4, 1, b"\0\0\0\x02" + b"\x82"),), PROTOCOL),
        (lambda w: (settings(ENABLE_PUSH=1),), PROTOCOL),
        (lambda w: (settings(MAX_FRAME_SIZE=1),), PROTOCOL),
        (lambda w: (settings(INITIAL_WINDOW_SIZE=2**31),), FLOW),
        (lambda w: (window(0, 2**31 - 1),), FLOW),
        (lambda w: (window(3, 5),), PROTOCOL),
        (lambda w: (frame(8, 0, 0, bytes(4)),), PROTOCOL),
        (lambda w: (frame(3, 0, 3, bytes(4)),), PROTOCOL),
        (lambda w: (frame(6, 0, 0, b"short"),), SIZE),
        (lambda w: (frame(7, 0, 0, b"short"),), SIZE),
        (lambda w: (frame(4, 1, 0, bytes(6)),), SIZE),
        (lambda w: (frame(1, 4, 1, b"\x80"),), COMPRESSION),
        (lambda w: (frame(9, 4, 1, b"\x82"),), PROTOCOL),
        (lambda w: (HeadersFrame(1, b"\x88"), PingFrame(0, b"12345678")), PROTOCOL),
    ],
    ids=[
        "5.1.1 even stream",
        "5.1 HEADERS on an idle stream",
        "5.1 DATA on an idle stream",
        "8.4 PUSH_PROMISE though it is disabled",
        "6.5.2 a server's ENABLE_PUSH of 1",
        "6.5.2 MAX_FRAME_SIZE",
        "6.5.2 INITIAL_WINDOW_SIZE",
        "6.9.1 connection window",
        "5.1 WINDOW_UPDATE on an idle stream",
        "6.9 WINDOW_UPDATE of 0",
        "6.4 RST_STREAM on an idle stream",
        "6.7 PING of 5 bytes",
        "6.8 GOAWAY of 5 bytes",
        "6.5 acknowledgement with content",
        "4.3 a block that cannot be decoded",
        "6.10 CONTINUATION without HEADERS",
        "6.2 a block that is interrupted",
    ],
)
async def test_connection_errors(act: Act, code: int) -> None:
    """By the clause in the test's name: GOAWAY, and every call fails at once."""
    async with calling(act) as (wire, ended):
        with trio.move_on_after(patient(5)):
            await wire.goaway(code)
    assert isinstance(ended[0], ConnectionLost)


async def test_data_after_the_stream_has_ended() -> None:
    """5.1: may be a connection error, and is one of the stream, of type STREAM_CLOSED."""

    def act(w: Wire) -> Sequence[Frame | bytes]:
        return *_answer(w, 1), data(1, HELLO)

    async with calling(act) as (wire, _):
        await wire.rst(1, CLOSED)
        await wire.lives()


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (REFUSED, StatusCode.UNAVAILABLE),
        (CANCEL, StatusCode.CANCELLED),
        (11, StatusCode.RESOURCE_EXHAUSTED),
        (12, StatusCode.PERMISSION_DENIED),
        (INTERNAL, StatusCode.INTERNAL),
        (PROTOCOL, StatusCode.INTERNAL),
    ],
)
async def test_reset_codes(code: int, status: StatusCode) -> None:
    """gRPC over HTTP/2, Errors: what a server's RST_STREAM stands for."""
    error = await answered(lambda w: (RstStreamFrame(1, code),))
    assert error is not None
    assert error.code is status


async def test_goaway_ends_what_was_not_processed() -> None:
    """6.8: streams above the last one fail at once, and can be repeated."""
    error = await answered(lambda w: (GoAwayFrame(0, last_stream_id=0),))
    assert isinstance(error, ConnectionLost)
    assert "not processed" in error.message


async def test_goaway_lets_the_rest_end() -> None:
    """6.8: streams up to the last one go on."""

    def act(w: Wire) -> Sequence[Frame | bytes]:
        return GoAwayFrame(0, last_stream_id=1), *_answer(w, 1)

    assert await answered(act) is None


async def test_the_servers_limit_of_streams_is_kept() -> None:
    """5.1.2: a call waits until another has ended."""
    async with to_client() as (wire, channel), trio.open_nursery() as nursery:
        await wire.send(settings(MAX_CONCURRENT_STREAMS=1))
        await wire.expect(SettingsFrame, lambda each: "ACK" in each.flags)
        await wire.lives()
        for _ in range(2):
            nursery.start_soon(call, channel)
        await wire.expect(DataFrame, lambda each: each.stream_id == 1)
        await wire.lives()
        assert not [each for each in wire.seen if each.stream_id == 3]
        await wire.send(*_answer(wire, 1))
        await wire.expect(DataFrame, lambda each: each.stream_id == 3)
        await wire.send(*_answer(wire, 3))


def _answer(wire: Wire, stream_id: int) -> list[Frame | bytes]:
    return [
        wire.headers(stream_id, RESPONSE),
        data(stream_id, HELLO),
        wire.headers(stream_id, OK, ("END_HEADERS", "END_STREAM")),
    ]


async def test_a_cancelled_call_is_reset() -> None:
    """gRPC: cancelling sends RST_STREAM with CANCEL."""
    async with to_client() as (wire, channel), trio.open_nursery() as nursery:
        nursery.start_soon(call, channel)
        await wire.expect(DataFrame)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wire.rst(1, CANCEL)


async def test_a_message_over_the_limit() -> None:
    """gRPC: refused by its length, before it is buffered."""
    huge = b"\0\xff\xff\xff\xff" + bytes(100)
    error = await answered(lambda w: (w.headers(1, RESPONSE), data(1, huge)))
    assert error is not None
    assert error.code is StatusCode.RESOURCE_EXHAUSTED


async def test_forged_text_is_bounded_and_decoded() -> None:
    """gRPC: a status message of bytes that are not UTF-8 or too many is still text."""
    fields = (*RESPONSE, ("grpc-status", "7"), ("grpc-message", "%FF%1B[31m" + "x" * 4_000))
    error = await answered(lambda w: (w.headers(1, fields, ("END_HEADERS", "END_STREAM")),))
    assert error is not None
    assert error.code is StatusCode.PERMISSION_DENIED
    assert error.message.startswith("\ufffd\x1b[31m")


async def test_pings_are_answered_while_nothing_runs() -> None:
    """6.7: at any time."""
    async with to_client() as (wire, _):
        await wire.lives()


async def test_an_answer_ends_the_sending() -> None:
    """A status that comes while the request waits for a window is the call's, at once."""
    async with to_client() as (wire, channel), trio.open_nursery() as nursery:
        caught: list[RpcError] = []

        async def call() -> None:
            with pytest.raises(RpcError) as raised:
                await channel.unary("a", "b", BytesValue(value=bytes(300_000)), BytesValue)
            caught.append(raised.value)

        nursery.start_soon(call)
        await wire.expect(DataFrame)
        denied = (*RESPONSE, ("grpc-status", "7"), ("grpc-message", "denied"))
        await wire.send(wire.headers(1, denied, ("END_HEADERS", "END_STREAM")))
        await wire.rst(1, NO_ERROR)  # what is left of the request is for nobody
        await trio.testing.wait_all_tasks_blocked()
        (error,) = caught
        assert (error.code, error.message) == (StatusCode.PERMISSION_DENIED, "denied")


async def test_a_response_without_status_is_malformed() -> None:
    """RFC 9113 8.3.2: a stream error; it is not taken for an answer."""
    async with to_client() as (wire, channel), trio.open_nursery() as nursery:
        caught: list[RpcError] = []

        async def call() -> None:
            with pytest.raises(RpcError) as raised:
                await channel.unary("a", "b", BytesValue(), BytesValue)
            caught.append(raised.value)

        nursery.start_soon(call)
        await wire.expect(HeadersFrame)
        denied = (("grpc-status", "7"), ("grpc-message", "denied"))
        await wire.send(wire.headers(1, denied, ("END_HEADERS", "END_STREAM")))
        await trio.testing.wait_all_tasks_blocked(0.01)
        (error,) = caught
        assert error.code is StatusCode.INTERNAL


async def test_interim_responses_are_counted() -> None:
    """A call whose server sends them without end has failed, and no other one."""
    # Without more a second, because a slow reader would take 101 of them in more than 0.1 s.
    limits = CLIENT_DEFAULTS._replace(interim_responses=Rate(100, 0.0))
    async with to_client(limits=limits) as (wire, channel), trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(RpcError, match="interim") as caught:
                await channel.unary("a", "b", BytesValue(), BytesValue)
            assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED

        nursery.start_soon(call)
        await wire.expect(HeadersFrame)
        await wire.send(*[wire.headers(1, ((":status", "100"),)) for _ in range(101)])
        await wire.rst(1, CALM)
        await wire.lives()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        (((":status", "404"), ("content-type", "text/html")), StatusCode.UNIMPLEMENTED),
        (((":status", "503"), ("content-type", "text/html")), StatusCode.UNAVAILABLE),
        (((":status", "200"), ("content-type", "text/html")), StatusCode.INTERNAL),
        (((":status", "200"),), StatusCode.INTERNAL),
    ],
)
async def test_a_server_that_does_not_speak_grpc(
    fields: Sequence[tuple[str, str]], code: StatusCode
) -> None:
    """gRPC's table of HTTP statuses; the call is given up, the connection lives."""
    async with calling(lambda w: (w.headers(1, fields),)) as (wire, ended):
        await wire.expect(RstStreamFrame)
        await wire.lives()
    assert ended[0] is not None
    assert ended[0].code is code
