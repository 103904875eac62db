"""RFC 9113 by rule, as a server sees it: states of streams, windows, header fields."""

import pytest
from hyperframe.frame import (
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from raw import GRPC_HEADERS, frame
from wire import (
    CALM,
    CANCEL,
    CLOSED,
    COMPRESSION,
    FLOW,
    HELLO,
    PROTOCOL,
    REFUSED,
    Wire,
    data,
    settings,
    to_server,
    window,
)

TRAILERS = (("grpc-extra", "1"),)
EXHAUSTED = "8"


async def test_data_on_an_idle_stream() -> None:
    """5.1: anything but HEADERS or PRIORITY on an idle stream is PROTOCOL_ERROR."""
    async with to_server() as wire:
        await wire.send(data(1, HELLO))
        await wire.goaway(PROTOCOL)


async def test_window_update_on_an_idle_stream() -> None:
    """5.1: as DATA."""
    async with to_server() as wire:
        await wire.send(window(1, 100))
        await wire.goaway(PROTOCOL)


async def test_data_after_end_stream() -> None:
    """5.1: half-closed (remote): a stream error of type STREAM_CLOSED."""
    async with to_server() as wire:
        await wire.send(wire.call(1, "/toy.Toy/Wait"), data(1, HELLO))
        await wire.rst(1, CLOSED)
        await wire.lives()


async def test_headers_after_end_stream() -> None:
    """5.1: half-closed (remote), likewise."""
    async with to_server() as wire:
        await wire.send(wire.call(1, "/toy.Toy/Wait"), wire.headers(1, TRAILERS))
        await wire.rst(1, CLOSED)
        await wire.lives()


async def test_window_update_after_end_stream() -> None:
    """5.1: WINDOW_UPDATE, PRIORITY and RST_STREAM are allowed in half-closed (remote)."""
    async with to_server() as wire:
        await wire.send(wire.call(1, "/toy.Toy/Wait"), window(1, 1), frame(2, 0, 1, bytes(5)))
        await wire.lives()
        await wire.send(RstStreamFrame(1, CANCEL))
        await wire.lives()


async def test_data_on_an_ended_stream() -> None:
    """5.1: closed by END_STREAM: may be a connection error, and is the call's: STREAM_CLOSED."""
    async with to_server() as wire:
        await wire.send(wire.call(1))
        assert await wire.status(1) == "0"
        await wire.send(data(1, HELLO))
        await wire.rst(1, CLOSED)
        await wire.lives()


async def test_headers_on_an_ended_stream() -> None:
    """5.1: closed by END_STREAM, likewise."""
    async with to_server() as wire:
        await wire.send(wire.call(1))
        assert await wire.status(1) == "0"
        await wire.send(wire.headers(1))
        await wire.rst(1, CLOSED)
        await wire.lives()


async def test_late_frames_of_an_ended_stream() -> None:
    """5.1: WINDOW_UPDATE and RST_STREAM may arrive for a while."""
    async with to_server() as wire:
        await wire.send(wire.call(1))
        assert await wire.status(1) == "0"
        await wire.send(window(1, 100), RstStreamFrame(1, CANCEL), frame(2, 0, 1, bytes(5)))
        await wire.lives()


async def test_data_after_the_peers_own_reset() -> None:
    """5.1: a stream error of type STREAM_CLOSED."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), RstStreamFrame(1, CANCEL), data(1, HELLO))
        await wire.rst(1, CLOSED)
        await wire.lives()


async def test_headers_after_the_peers_own_reset() -> None:
    """5.1: likewise, and HPACK's table stays the same."""
    async with to_server() as wire:
        await wire.send(
            wire.headers(1), RstStreamFrame(1, CANCEL), wire.headers(1, (("x-late", "1"),))
        )
        await wire.rst(1, CLOSED)
        await wire.send(wire.call(3))
        assert await wire.status(3) == "0"


async def test_frames_under_way_when_we_reset() -> None:
    """5.1: they are ignored; windows and HPACK's table are kept up."""
    async with to_server() as wire:
        await wire.send(
            wire.headers(1), window(1, 0), data(1, HELLO), wire.headers(1, TRAILERS), wire.call(3)
        )
        await wire.rst(1, PROTOCOL)
        assert await wire.status(3) == "0"
        resets = [each for each in wire.seen if isinstance(each, RstStreamFrame)]
        assert len(resets) == 1


async def test_even_stream_ids_are_not_a_clients() -> None:
    """5.1.1: a client's streams have odd identifiers."""
    async with to_server() as wire:
        await wire.send(wire.headers(2))
        await wire.goaway(PROTOCOL)


async def test_stream_ids_grow() -> None:
    """5.1.1: an identifier below one that was used is PROTOCOL_ERROR."""
    async with to_server() as wire:
        await wire.send(wire.call(5), wire.call(3))
        await wire.goaway(PROTOCOL)


async def test_stream_ids_may_be_skipped() -> None:
    """5.1.1: gaps are allowed; what lies in them is closed."""
    async with to_server() as wire:
        await wire.send(wire.call(1), wire.call(101))
        assert await wire.status(101) == "0"


async def test_the_highest_stream_id() -> None:
    """5.1.1: 2^31-1 is a stream as any other."""
    async with to_server() as wire:
        await wire.send(wire.call(2**31 - 1))
        assert await wire.status(2**31 - 1) == "0"


async def test_one_stream_over_the_limit() -> None:
    """5.1.2: a stream error of type REFUSED_STREAM; the others go on."""
    async with to_server(streams=2) as wire:
        for stream_id in (1, 3, 5):
            await wire.send(wire.call(stream_id, "/toy.Toy/Wait"))
        await wire.rst(5, REFUSED)
        await wire.send(RstStreamFrame(1, CANCEL))
        await wire.lives()
        await wire.send(wire.call(7))
        assert await wire.status(7) == "0"


async def test_max_concurrent_streams_is_announced() -> None:
    """5.1.2: the limit stands in our SETTINGS."""
    async with to_server(streams=7) as wire:
        frames = [each for each in wire.seen if isinstance(each, SettingsFrame)]
        assert frames[0].settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 7


async def test_window_update_of_0_on_a_stream() -> None:
    """6.9: a stream error of type PROTOCOL_ERROR."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), frame(8, 0, 1, bytes(4)))
        await wire.rst(1, PROTOCOL)
        await wire.lives()


async def test_window_update_of_0_on_the_connection() -> None:
    """6.9: a connection error of type PROTOCOL_ERROR."""
    async with to_server() as wire:
        await wire.send(frame(8, 0, 0, bytes(4)))
        await wire.goaway(PROTOCOL)


async def test_a_streams_window_over_its_most() -> None:
    """6.9.1: above 2^31-1 the stream is reset with FLOW_CONTROL_ERROR."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), window(1, 2**31 - 1))
        await wire.rst(1, FLOW)
        await wire.lives()


async def test_the_connections_window_over_its_most() -> None:
    """6.9.1: GOAWAY with FLOW_CONTROL_ERROR."""
    async with to_server() as wire:
        await wire.send(window(0, 2**31 - 1))
        await wire.goaway(FLOW)


async def test_the_reserved_bit_of_an_increment_is_ignored() -> None:
    """6.9: the first bit is reserved."""
    async with to_server() as wire:
        await wire.send(frame(8, 0, 0, b"\x80\0\0\x01"))
        await wire.lives()


async def test_more_data_than_the_streams_window() -> None:
    """6.9.1: a stream error of type FLOW_CONTROL_ERROR."""
    async with to_server(stream_window_bytes=65_535) as wire:
        await wire.send(*_held(wire))
        await wire.rst(1, FLOW)
        await wire.lives()


async def test_more_data_than_the_connections_window() -> None:
    """6.9.1: a connection error of type FLOW_CONTROL_ERROR."""
    async with to_server(connection_window_bytes=65_535, stream_window_bytes=2**20) as wire:
        await wire.send(*_held(wire))
        await wire.goaway(FLOW)


async def test_no_data_beyond_the_peers_window() -> None:
    """6.9: with a window of 0 only what needs none is sent."""
    async with to_server() as wire:
        await wire.send(settings(INITIAL_WINDOW_SIZE=0), wire.call(1))
        await wire.lives()
        assert not [each for each in wire.seen if isinstance(each, DataFrame)]
        await wire.send(window(1, 3))
        first = await wire.expect(DataFrame)
        assert len(first.data) == 3
        await wire.send(window(1, 100))
        assert await wire.status(1) == "0"


async def test_settings_shrink_a_window_below_0() -> None:
    """6.9.2: it may become negative, and sending waits until it is positive again."""
    async with to_server() as wire:
        await wire.send(settings(INITIAL_WINDOW_SIZE=5), wire.call(1))
        assert len((await wire.expect(DataFrame)).data) == 5
        await wire.send(settings(INITIAL_WINDOW_SIZE=0), window(1, 5))
        await wire.lives()
        assert sum(len(each.data) for each in wire.seen if isinstance(each, DataFrame)) == 5
        await wire.send(window(1, 1))
        assert len((await wire.expect(DataFrame)).data) == 1


async def test_settings_that_push_a_window_over_its_most() -> None:
    """6.9.2: a connection error of type FLOW_CONTROL_ERROR."""
    async with to_server() as wire:
        await wire.send(
            wire.headers(1), window(1, 2**31 - 1 - 65_535), settings(INITIAL_WINDOW_SIZE=65_536)
        )
        await wire.goaway(FLOW)


async def test_frames_sent_fit_the_peers_max_frame_size() -> None:
    """4.2: no frame is larger than the peer admits, however large the message."""
    async with to_server() as wire:
        await wire.send(window(0, 2**20), settings(INITIAL_WINDOW_SIZE=2**20))
        body = b"\x0a\x80\x80\x04" + bytes(65_536)
        message = b"\0" + len(body).to_bytes(4, "big") + body
        await wire.send(wire.headers(1))
        for begin in range(0, len(message), 16_000):
            end = begin + 16_000 >= len(message)
            await wire.send(data(1, message[begin : begin + 16_000], end=end))
        assert await wire.status(1) == "0"
        sizes = [len(each.data) for each in wire.seen if isinstance(each, DataFrame)]
        assert max(sizes) <= 16_384
        assert sum(sizes) == len(message)


async def test_window_is_given_back() -> None:
    """6.9: bytes that were taken open the connection's and the stream's window again."""
    async with to_server(stream_window_bytes=65_535, connection_window_bytes=65_535) as wire:
        await wire.send(wire.headers(1, _path("/toy.Toy/Total")))
        left = {0: 65_535, 1: 65_535}
        for _ in range(20):
            while min(left.values()) < 15_000:
                update = await wire.expect(WindowUpdateFrame)
                left[update.stream_id] += update.window_increment
            await wire.send(data(1, b"\0\0\0\0\0" * 3_000))
            left = {stream_id: size - 15_000 for stream_id, size in left.items()}
        await wire.lives()


async def test_trailers_must_end_the_stream() -> None:
    """8.1: HEADERS after the first without END_STREAM: malformed, a stream error."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), wire.headers(1, TRAILERS))
        await wire.rst(1, PROTOCOL)
        await wire.lives()


async def test_trailers_of_a_request() -> None:
    """8.1: a request may have trailers."""
    async with to_server() as wire:
        await wire.send(
            wire.headers(1),
            data(1, HELLO),
            wire.headers(1, TRAILERS, ("END_HEADERS", "END_STREAM")),
        )
        assert await wire.status(1) == "0"


async def test_pseudo_fields_in_trailers() -> None:
    """8.1: they are malformed."""
    async with to_server() as wire:
        fields = ((":path", "/"),)
        await wire.send(wire.headers(1), wire.headers(1, fields, ("END_HEADERS", "END_STREAM")))
        await wire.rst(1, PROTOCOL)
        await wire.lives()


@pytest.mark.parametrize(
    "fields",
    [
        [*GRPC_HEADERS, ("Upper", "x")],
        [*GRPC_HEADERS, ("", "empty name")],
        [*GRPC_HEADERS, ("a:b", "x")],
        [*GRPC_HEADERS, ("tab\t", "x")],
        [*GRPC_HEADERS, ("del\x7f", "x")],
        [*GRPC_HEADERS, ("a", "cr\r")],
        [*GRPC_HEADERS, ("a", "lf\n")],
        [*GRPC_HEADERS, ("a", "nul\0")],
        [*GRPC_HEADERS, ("a", " before")],
        [*GRPC_HEADERS, ("a", "after\t")],
    ],
    ids=["upper", "empty", "colon", "tab", "del", "cr", "lf", "nul", "before", "after"],
)
async def test_field_validity(fields: list[tuple[str, str]]) -> None:
    """8.2.1: such names and values make a message malformed: a stream error."""
    async with to_server() as wire:
        await wire.send(wire.headers(1, fields))
        await wire.rst(1, PROTOCOL)
        await wire.lives()


@pytest.mark.parametrize(
    "field",
    ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"],
)
async def test_fields_of_http_1_connections(field: str) -> None:
    """8.2.2: connection-specific fields are malformed."""
    async with to_server() as wire:
        await wire.send(wire.headers(1, [*GRPC_HEADERS, (field, "x")]))
        await wire.rst(1, PROTOCOL)
        await wire.lives()


async def test_te_may_only_be_trailers() -> None:
    """8.2.2: any other value is malformed."""
    async with to_server() as wire:
        fields = [(n, "trailers, deflate" if n == "te" else v) for n, v in GRPC_HEADERS]
        await wire.send(wire.headers(1, fields))
        await wire.rst(1, PROTOCOL)


@pytest.mark.parametrize("missing", [":method", ":scheme", ":path"])
async def test_pseudo_fields_of_a_request(missing: str) -> None:
    """8.3.1: all three must be there."""
    async with to_server() as wire:
        await wire.send(wire.headers(1, [each for each in GRPC_HEADERS if each[0] != missing]))
        await wire.rst(1, PROTOCOL)


async def test_an_empty_path() -> None:
    """8.3.1: :path must not be empty."""
    async with to_server() as wire:
        await wire.send(wire.headers(1, _path("")))
        await wire.rst(1, PROTOCOL)


@pytest.mark.parametrize("name", [":method", ":path", ":scheme", ":authority"])
async def test_a_pseudo_field_twice(name: str) -> None:
    """8.3: the same pseudo-field must not appear twice."""
    async with to_server() as wire:
        extra = next(each for each in GRPC_HEADERS if each[0] == name)
        await wire.send(wire.headers(1, [extra, *GRPC_HEADERS]))
        await wire.rst(1, PROTOCOL)


@pytest.mark.parametrize("name", [":status", ":unknown"])
async def test_pseudo_fields_that_are_no_requests(name: str) -> None:
    """8.3: undefined ones, and those of responses, are malformed."""
    async with to_server() as wire:
        await wire.send(wire.headers(1, [(name, "200"), *GRPC_HEADERS]))
        await wire.rst(1, PROTOCOL)


async def test_pseudo_fields_come_first() -> None:
    """8.3: one after a regular field is malformed."""
    async with to_server() as wire:
        await wire.send(wire.headers(1, [*GRPC_HEADERS[1:], GRPC_HEADERS[0]]))
        await wire.rst(1, PROTOCOL)


@pytest.mark.parametrize("length", ["9", "11", "x", "-1"])
async def test_content_length_is_that_of_data(length: str) -> None:
    """8.1.1: any other is malformed."""
    body = HELLO + bytes(10 - len(HELLO)) if len(HELLO) < 10 else HELLO[:10]
    async with to_server() as wire:
        await wire.send(
            wire.headers(1, [*GRPC_HEADERS, ("content-length", length)]), data(1, body, end=True)
        )
        await wire.rst(1, PROTOCOL)
        await wire.lives()


async def test_content_length_that_fits() -> None:
    """8.1.1: a right one is no error."""
    async with to_server() as wire:
        fields = [*GRPC_HEADERS, ("content-length", str(len(HELLO)))]
        await wire.send(wire.headers(1, fields), data(1, HELLO, end=True))
        assert await wire.status(1) == "0"


@pytest.mark.parametrize(
    "block",
    [b"\xff\xff\xff\xff\xff", b"\x80", b"\xc6", b"\x3f\xff\xff\x7f", b"\x40\x85\xff", b"\x40\x01a"],
    ids=["integer", "index 0", "beyond the table", "table size", "huffman", "cut"],
)
async def test_a_block_that_cannot_be_decoded(block: bytes) -> None:
    """4.3, RFC 7541: a connection error of type COMPRESSION_ERROR."""
    async with to_server() as wire:
        await wire.send(frame(1, 0x4, 1, block))
        await wire.goaway(COMPRESSION)


async def test_a_table_size_update_after_a_field() -> None:
    """RFC 7541 4.2: it must stand at the beginning of a block."""
    async with to_server() as wire:
        await wire.send(frame(1, 0x4, 1, b"\x82\x20"))
        await wire.goaway(COMPRESSION)


async def test_a_header_list_over_the_limit() -> None:
    """10.5.1: its call is refused, and what it has added to HPACK's table can be used."""
    async with to_server() as wire:
        await wire.send(wire.headers(1, [*GRPC_HEADERS, ("x", "y" * 9_000), ("late", "1")]))
        assert await wire.status(1) == EXHAUSTED
        await wire.send(wire.headers(3, [*GRPC_HEADERS, ("late", "1")]), data(3, HELLO, end=True))
        assert await wire.status(3) == "0"


async def test_an_hpack_bomb() -> None:
    """10.5.1: one byte that stands for four thousand, many times over."""
    async with to_server() as wire:
        await wire.send(wire.headers(1, [*GRPC_HEADERS, ("x", "y" * 3_000)]))
        await wire.send(frame(1, 0x4, 3, b"\xbe" * 100))
        assert await wire.status(3) == EXHAUSTED
        await wire.send(frame(1, 0x4, 5, b"\xbe" * 3_000))
        await wire.rst(5, CALM)
        await wire.goaway(CALM)


async def test_early_responses_ask_for_no_more() -> None:
    """8.1: a response that is complete before its request is followed by RST_STREAM NO_ERROR."""
    async with to_server() as wire:
        await wire.send(wire.headers(1, _path("/toy.Toy/Nothing")))
        assert await wire.status(1) == "12"
        await wire.rst(1, 0)
        await wire.lives()


async def test_nothing_is_sent_after_end_stream() -> None:
    """5.1: a stream that we have ended carries nothing of ours any more."""
    async with to_server() as wire:
        await wire.send(wire.call(1), PingFrame(0, b"12345678"))
        assert await wire.status(1) == "0"
        await wire.lives()
        ours = [
            each
            for each in wire.seen
            if each.stream_id == 1 and isinstance(each, DataFrame | HeadersFrame)
        ]
        assert "END_STREAM" in ours[-1].flags
        assert not any("END_STREAM" in each.flags for each in ours[:-1])


def _held(wire: Wire) -> list[Frame | bytes]:
    """Messages that are not taken, as their answers have no window, and so keep their own."""
    return [
        settings(INITIAL_WINDOW_SIZE=0),
        wire.headers(1, _path("/toy.Toy/Both")),
        *[data(1, b"\0\0\0\0\0" * 3_000)] * 5,
    ]


def _path(path: str) -> list[tuple[str, str]]:
    return [(name, path if name == ":path" else value) for name, value in GRPC_HEADERS]


async def test_a_request_with_an_interim_status_is_malformed() -> None:
    """8.3.1: :status is no field of requests; it is not taken for a head with more to come."""
    async with to_server() as wire:
        await wire.send(wire.headers(1, ((":status", "100"), *GRPC_HEADERS)))
        await wire.rst(1, PROTOCOL)
        await wire.lives()
