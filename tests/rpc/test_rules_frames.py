"""RFC 9113 by rule, as a server sees it: preface, frames, SETTINGS, PING, GOAWAY, CONTINUATION."""

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    SettingsFrame,
)
from raw import PREFACE, frame
from wire import CALM, FLOW, HELLO, PROTOCOL, SIZE, data, settings, to_server, window


async def test_preface_comes_first() -> None:
    """3.4: bytes that are not the preface end the connection."""
    async with to_server(greet=False) as wire:
        await wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await wire.goaway(PROTOCOL)


async def test_settings_follow_the_preface() -> None:
    """3.4: the preface is followed by SETTINGS, which may be empty."""
    async with to_server(greet=False) as wire:
        await wire.send(PREFACE, PingFrame(0, b"12345678"))
        await wire.goaway(PROTOCOL)


async def test_an_acknowledgement_is_no_first_settings() -> None:
    """3.4: an ACK cannot be the first SETTINGS."""
    async with to_server(greet=False) as wire:
        await wire.send(PREFACE, SettingsFrame(0, flags=("ACK",)))
        await wire.goaway(PROTOCOL)


async def test_the_servers_settings_come_first() -> None:
    """3.4: the server's first frame is SETTINGS."""
    async with to_server(greet=False) as wire:
        await wire.send(PREFACE, SettingsFrame(0))
        first = await wire.next()
        assert isinstance(first, SettingsFrame)
        assert "ACK" not in first.flags


async def test_reserved_bit_of_the_stream_id_is_ignored() -> None:
    """4.1: the reserved bit must be ignored when receiving."""
    async with to_server() as wire:
        await wire.send(frame(6, 0, 0x80000000, b"reserved"))
        await wire.expect(PingFrame, lambda each: each.opaque_data == b"reserved")


async def test_unknown_frame_types_are_ignored() -> None:
    """4.1, 5.5: frames of unknown types are discarded."""
    async with to_server() as wire:
        await wire.send(frame(0x16, 0xFF, 0, b"anything"), frame(0xFE, 0, 5, b""))
        await wire.lives()


async def test_unknown_flags_are_ignored() -> None:
    """4.1: flags without a meaning for a type must be ignored."""
    async with to_server() as wire:
        await wire.send(frame(6, 0xFE, 0, b"flagged!"))
        await wire.expect(PingFrame, lambda each: each.opaque_data == b"flagged!")


@pytest.mark.parametrize("kind", [0, 1, 0x16])
async def test_a_frame_over_max_frame_size(kind: int) -> None:
    """4.2: FRAME_SIZE_ERROR, by its header alone: no byte of its body is sent here."""
    async with to_server() as wire:
        await wire.send(b"\x00\x40\x01" + bytes((kind, 0)) + b"\0\0\0\x01")
        await wire.goaway(SIZE)


async def test_a_frame_of_16_mb_is_not_waited_for() -> None:
    """4.2: nor is the largest that a header can declare."""
    async with to_server() as wire:
        await wire.send(b"\xff\xff\xff" + bytes((0, 0)) + b"\0\0\0\x01")
        await wire.goaway(SIZE)


async def test_a_frame_of_exactly_max_frame_size() -> None:
    """4.2: 16,384 bytes must be accepted."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), data(1, HELLO + b"\0" * (16_384 - len(HELLO))))
        await wire.lives()


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 9])
async def test_frames_of_streams_on_stream_0(kind: int) -> None:
    """6.1, 6.2, 6.3, 6.4, 6.10: DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION on 0."""
    sizes = {0: 1, 1: 1, 2: 5, 3: 4, 9: 1}
    async with to_server() as wire:
        await wire.send(frame(kind, 0, 0, bytes(sizes[kind])))
        await wire.goaway(PROTOCOL)


@pytest.mark.parametrize("kind", [4, 6, 7])
async def test_frames_of_the_connection_on_a_stream(kind: int) -> None:
    """6.5, 6.7, 6.8: SETTINGS, PING and GOAWAY with a stream identifier."""
    sizes = {4: 0, 6: 8, 7: 8}
    async with to_server() as wire:
        await wire.send(frame(kind, 0, 1, bytes(sizes[kind])))
        await wire.goaway(PROTOCOL)


async def test_priority_is_ignored() -> None:
    """5.3.2: PRIORITY may come on any stream, idle ones included, and changes nothing."""
    async with to_server() as wire:
        await wire.send(PriorityFrame(7, depends_on=5), wire.call(1))
        assert await wire.status(1) == "0"


async def test_priority_of_another_size_is_a_stream_error() -> None:
    """6.3: a length other than 5 is a stream error of type FRAME_SIZE_ERROR."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), frame(2, 0, 1, b"1234"))
        await wire.rst(1, SIZE)
        await wire.lives()


async def test_priority_of_another_size_on_an_idle_stream() -> None:
    """5.4.1, 6.4: an idle stream cannot be reset, so the connection ends."""
    async with to_server() as wire:
        await wire.send(frame(2, 0, 9, b"123456"))
        await wire.goaway(SIZE)


@pytest.mark.parametrize("size", [0, 3, 5])
async def test_rst_stream_of_another_size(size: int) -> None:
    """6.4: a length other than 4 is a connection error of type FRAME_SIZE_ERROR."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), frame(3, 0, 1, bytes(size)))
        await wire.goaway(SIZE)


async def test_rst_stream_on_an_idle_stream() -> None:
    """6.4: RST_STREAM for an idle stream is a connection error."""
    async with to_server() as wire:
        await wire.send(frame(3, 0, 1, bytes(4)))
        await wire.goaway(PROTOCOL)


async def test_settings_are_acknowledged() -> None:
    """6.5.3: each SETTINGS is acknowledged once."""
    async with to_server() as wire:
        await wire.send(settings(MAX_CONCURRENT_STREAMS=5), settings(MAX_FRAME_SIZE=20_000))
        for _ in range(2):
            answer = await wire.expect(SettingsFrame, lambda each: "ACK" in each.flags)
            assert not answer.settings
        await wire.lives()
        assert sum(isinstance(each, SettingsFrame) for each in wire.seen) == 1 + 1 + 2


async def test_settings_cut_within_an_entry() -> None:
    """6.5: a length that is no multiple of 6 is FRAME_SIZE_ERROR."""
    async with to_server() as wire:
        await wire.send(frame(4, 0, 0, b"12345"))
        await wire.goaway(SIZE)


async def test_an_acknowledgement_with_content() -> None:
    """6.5: an ACK with a length is FRAME_SIZE_ERROR."""
    async with to_server() as wire:
        await wire.send(frame(4, 1, 0, bytes(6)))
        await wire.goaway(SIZE)


async def test_unknown_settings_are_ignored() -> None:
    """6.5.2: an unknown identifier must be ignored."""
    async with to_server() as wire:
        await wire.send(frame(4, 0, 0, b"\xaa\xaa\xff\xff\xff\xff"))
        await wire.lives()


@pytest.mark.parametrize("value", [2, 2**32 - 1])
async def test_enable_push_is_0_or_1(value: int) -> None:
    """6.5.2: any other value of ENABLE_PUSH is PROTOCOL_ERROR."""
    async with to_server() as wire:
        await wire.send(settings(ENABLE_PUSH=value))
        await wire.goaway(PROTOCOL)


async def test_initial_window_size_has_31_bits() -> None:
    """6.5.2: above 2^31-1 it is FLOW_CONTROL_ERROR."""
    async with to_server() as wire:
        await wire.send(settings(INITIAL_WINDOW_SIZE=2**31))
        await wire.goaway(FLOW)


@pytest.mark.parametrize("value", [0, 16_383, 2**24])
async def test_max_frame_size_is_in_its_range(value: int) -> None:
    """6.5.2: outside of 2^14 to 2^24-1 it is PROTOCOL_ERROR."""
    async with to_server() as wire:
        await wire.send(settings(MAX_FRAME_SIZE=value))
        await wire.goaway(PROTOCOL)


async def test_settings_apply_in_their_order() -> None:
    """6.5.3: of one setting given twice in a frame the last value holds."""
    async with to_server() as wire:
        twice = b"\0\x04" + (0).to_bytes(4, "big") + b"\0\x04" + (65_535).to_bytes(4, "big")
        await wire.send(frame(4, 0, 0, twice), wire.call(1))
        assert await wire.status(1) == "0"


async def test_header_table_size_of_0_is_honoured() -> None:
    """6.5.2, RFC 7541 4.2: what is sent needs no table, and says so at its start."""
    async with to_server() as wire:
        wire.decoder.max_allowed_table_size = 0
        await wire.send(settings(HEADER_TABLE_SIZE=0), wire.call(1), wire.call(3))
        assert await wire.status(1) == "0"
        assert await wire.status(3) == "0"
        assert wire.decoder.header_table_size == 0


async def test_ping_comes_back() -> None:
    """6.7: the same eight bytes, with ACK."""
    async with to_server() as wire:
        await wire.send(PingFrame(0, b"\0\xff\x01\xfe\x02\xfd\x03\xfc"))
        answer = await wire.expect(PingFrame)
        assert "ACK" in answer.flags
        assert answer.opaque_data == b"\0\xff\x01\xfe\x02\xfd\x03\xfc"


async def test_ping_acknowledgement_is_not_answered() -> None:
    """6.7: an ACK must not be responded to."""
    async with to_server() as wire:
        await wire.send(PingFrame(0, b"unasked!", flags=("ACK",)))
        await wire.lives()
        pings = [each for each in wire.seen if isinstance(each, PingFrame)]
        assert [each.opaque_data for each in pings] == [b"still on"]


@pytest.mark.parametrize("size", [0, 7, 9])
async def test_ping_of_another_size(size: int) -> None:
    """6.7: a length other than 8 is FRAME_SIZE_ERROR."""
    async with to_server() as wire:
        await wire.send(frame(6, 0, 0, bytes(size)))
        await wire.goaway(SIZE)


async def test_goaway_that_is_too_short() -> None:
    """6.8: GOAWAY holds a stream identifier and an error code."""
    async with to_server() as wire:
        await wire.send(frame(7, 0, 0, bytes(7)))
        await wire.goaway(SIZE)


async def test_calls_go_on_after_a_clients_goaway() -> None:
    """6.8: streams that were begun before it are completed."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), GoAwayFrame(0), data(1, HELLO, end=True))
        assert await wire.status(1) == "0"


@pytest.mark.parametrize("size", [0, 3, 5])
async def test_window_update_of_another_size(size: int) -> None:
    """6.9: a length other than 4 is FRAME_SIZE_ERROR."""
    async with to_server() as wire:
        await wire.send(frame(8, 0, 0, bytes(size)))
        await wire.goaway(SIZE)


async def test_a_header_block_in_pieces() -> None:
    """6.10: HEADERS and CONTINUATIONs make one block."""
    async with to_server() as wire:
        block = wire.headers(1).data
        await wire.send(
            HeadersFrame(1, block[:3]),
            ContinuationFrame(1, block[3:5]),
            ContinuationFrame(1, block[5:], flags=("END_HEADERS",)),
            data(1, HELLO, end=True),
        )
        assert await wire.status(1) == "0"


async def test_end_stream_on_headers_in_pieces() -> None:
    """6.2: END_STREAM of HEADERS holds although CONTINUATION follows."""
    async with to_server() as wire:
        block = wire.headers(1).data
        await wire.send(
            HeadersFrame(1, block[:3], flags=("END_STREAM",)),
            ContinuationFrame(1, block[3:], flags=("END_HEADERS",)),
        )
        assert await wire.status(1) == "3"  # INVALID_ARGUMENT: no message came, or can come


@pytest.mark.parametrize(
    "between",
    [
        PingFrame(0, b"12345678"),
        window(0, 1),
        SettingsFrame(0),
        frame(0x16, 0, 0, b"extension"),
        frame(0, 0, 1, b"data"),
        PriorityFrame(1),
    ],
    ids=["PING", "WINDOW_UPDATE", "SETTINGS", "unknown", "DATA", "PRIORITY"],
)
async def test_nothing_comes_between_the_pieces(between: object) -> None:
    """4.3, 5.5, 6.10: any other frame within a header block is PROTOCOL_ERROR."""
    async with to_server() as wire:
        await wire.send(HeadersFrame(1, wire.headers(1).data[:3]), between)
        await wire.goaway(PROTOCOL)


async def test_continuation_of_another_stream() -> None:
    """6.10: CONTINUATION must be of the same stream."""
    async with to_server() as wire:
        block = wire.headers(1).data
        await wire.send(HeadersFrame(1, block[:3]), ContinuationFrame(3, block[3:]))
        await wire.goaway(PROTOCOL)


async def test_continuation_without_headers() -> None:
    """6.10: CONTINUATION must follow HEADERS or another CONTINUATION."""
    async with to_server() as wire:
        await wire.send(ContinuationFrame(1, b"", flags=("END_HEADERS",)))
        await wire.goaway(PROTOCOL)


async def test_continuation_after_a_complete_block() -> None:
    """6.10: nor after a block that has ended."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), ContinuationFrame(1, b"", flags=("END_HEADERS",)))
        await wire.goaway(PROTOCOL)


async def test_push_promise_from_a_client() -> None:
    """8.4: a client cannot push."""
    async with to_server() as wire:
        await wire.send(frame(5, 4, 1, b"\0\0\0\x02"))
        await wire.goaway(PROTOCOL)


@pytest.mark.parametrize("kind", [0, 1])
async def test_padding_as_long_as_the_payload(kind: int) -> None:
    """6.1, 6.2: padding that leaves no room for itself is PROTOCOL_ERROR."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), frame(kind, 0x8 | 0x4 * kind, 1, b"\x04abc"))
        await wire.goaway(PROTOCOL)


@pytest.mark.parametrize("kind", [0, 1])
async def test_a_padded_frame_without_its_length(kind: int) -> None:
    """4.2: too short for the fields that its flags promise."""
    async with to_server() as wire:
        await wire.send(wire.headers(1), frame(kind, 0x8, 1, b""))
        await wire.goaway(SIZE)


async def test_padding_is_not_content() -> None:
    """6.1, 6.2: padding of HEADERS and DATA is left out."""
    async with to_server() as wire:
        block = wire.headers(1).data
        await wire.send(
            frame(1, 0x4 | 0x8, 1, b"\x05" + block + bytes(5)),
            frame(0, 0x1 | 0x8, 1, b"\x0a" + HELLO + bytes(10)),
        )
        assert await wire.status(1) == "0"


async def test_priority_fields_in_headers_are_skipped() -> None:
    """6.2: the five bytes before the block are no part of it."""
    async with to_server() as wire:
        block = wire.headers(1).data
        await wire.send(
            frame(1, 0x4 | 0x20, 1, b"\0\0\0\x01\x10" + block), data(1, HELLO, end=True)
        )
        assert await wire.status(1) == "0"


async def test_headers_too_short_for_their_priority() -> None:
    """4.2, 6.2: FRAME_SIZE_ERROR."""
    async with to_server() as wire:
        await wire.send(frame(1, 0x4 | 0x20, 1, b"\0\0\0\x01"))
        await wire.goaway(SIZE)


async def test_a_header_block_over_its_bytes() -> None:
    """10.5.1: refused by the header of the frame that is too much, long before END_HEADERS."""
    async with to_server() as wire:
        await wire.send(HeadersFrame(1, bytes(16_384)))
        await wire.send(*[frame(9, 0, 1, bytes(16_384))] * 7, b"\0\0\x01\x09\0\0\0\0\x01")
        await wire.rst(1, CALM)
        await wire.goaway(CALM)
