"""Header blocks by hostile hands: what hpack would take without end."""

import sys
from typing import Any

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st
from raw import GRPC_HEADERS, PREFACE, frame
from toy import changed

from penstock.rpc.http2.connection import Connection, ConnectionFailed
from penstock.rpc.http2.events import OversizedHeaders
from penstock.rpc.http2.header_blocks import HeaderDecoder
from penstock.rpc.http2.protocol_errors import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault
from penstock.rpc.limits import SERVER_DEFAULTS, Rate

MANY = 16_000


@pytest.mark.parametrize(
    "block",
    [
        b"\x20" * 3,
        b"\x20\x3f\xe1\x1f" * 2,
        b"\x3f" + b"\x80" * MANY + b"\0",
        b"\x3f" + b"\xff" * MANY + b"\1",
        b"\xff" + b"\xff" * MANY + b"\1",
        b"\x0f" + b"\x80" * MANY + b"\0\1x",
        b"\x00\x01a\x7f" + b"\x80" * MANY + b"\0" + b"x" * 127,
        b"\x82" * 100 + b"\x7f" + b"\x80" * 100 + b"\0\1x",
    ],
)
def test_resizing_and_integers_without_end_are_refused(block: bytes) -> None:
    """RFC 7541 4.2, 7.4: COMPRESSION_ERROR."""
    with pytest.raises(ConnectionFault) as caught:
        HeaderDecoder(8_192).decode(block)
    assert caught.value.code == COMPRESSION_ERROR


def test_two_resizes_and_padded_integers_are_allowed() -> None:
    """The two that RFC 7541 4.2 has, and a length in more bytes than it needs."""
    decoder = HeaderDecoder(8_192)
    assert decoder.decode(b"\x20\x3f\xe1\x1f\x82") == [(b":method", b"GET")]
    assert decoder.decode(b"\x00\x01a\x7f\x81\x80\x80\x00" + b"x" * 128) == [(b"a", b"x" * 128)]


names = st.binary(min_size=1, max_size=20)
values = st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(lambda b: b"\xff" * len(b)))


@given(st.lists(st.tuples(names, values), max_size=20), st.booleans(), st.lists(st.integers(0, 2)))
def test_honest_blocks_pass(
    fields: list[tuple[bytes, bytes]], huffman: bool, sizes: list[int]
) -> None:
    """Whatever an encoder makes of any fields, strings full of high bytes among them."""
    encoder, decoder = Encoder(), HeaderDecoder(8_192)
    for size in sizes[:2]:
        encoder.header_table_size = size * 1_000
    for _ in range(2):
        assert decoder.decode(bytes(encoder.encode(fields, huffman=huffman))) == fields


@given(
    st.lists(st.tuples(names, values), max_size=20),
    st.lists(st.tuples(st.sampled_from([b"a", b"bb"]), st.integers(0, 5_000)), max_size=8),
    st.lists(st.tuples(names, values), max_size=20),
    st.booleans(),
    st.integers(0, 2),
)
def test_an_oversized_list_leaves_the_table_as_it_must(
    before: list[tuple[bytes, bytes]],
    large: list[tuple[bytes, int]],
    after: list[tuple[bytes, bytes]],
    huffman: bool,
    size: int,
) -> None:
    """Whatever it held: the next block means what the encoder means, and hpack's own decoder."""
    encoder, decoder, oracle = Encoder(), HeaderDecoder(2_048), Decoder(2**30)
    fields = [(name, b"~" * count) for name, count in large] + [(b"x", b"y" * 3_000)] + after
    for block, whole in ((before, True), (fields, False), (after, True), (before, True)):
        if not whole:
            encoder.header_table_size = size * 1_000
        data = bytes(encoder.encode(block, huffman=huffman))
        assert decoder.decode(data) == (block if whole else None)
        oracle.decode(data, raw=True)
        entries = [(bytes(n), bytes(v)) for n, v in oracle.header_table.dynamic_entries]
        assert list(decoder._decoder.header_table.dynamic_entries) == entries


@pytest.mark.parametrize(
    "block",
    [
        b"\x82" * 3_000,
        b"".join(b"\x40\x81\x1f" + b"\xff\xe1\x1c" + b"\x1f" * 3_808 for _ in range(20)),
    ],
    ids=["fields", "Huffman's code"],
)
def test_what_is_passed_over_is_bounded(block: bytes) -> None:
    """In fields, and in what has to be decoded: beyond it the connection ends."""
    with pytest.raises(ConnectionFault) as caught:
        HeaderDecoder(8_192).decode(block)
    assert caught.value.code == ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "end", [b"\xff\xff", b"\x20", b"\x40\x01a", b"\x41\x83\xff\xff\xff", b"\xc6"]
)
def test_what_is_passed_over_must_be_right_all_the_same(end: bytes) -> None:
    """Cut, out of order or beyond the table: COMPRESSION_ERROR, as in any block."""
    large = b"\x00\x01x\x7f\xa9\x45" + b"y" * 9_000
    decoder = HeaderDecoder(8_192)
    assert decoder.decode(large) is None
    with pytest.raises(ConnectionFault) as caught:
        decoder.decode(large + end)
    assert caught.value.code == COMPRESSION_ERROR


def test_oversized_lists_have_the_budget_of_resets() -> None:
    """Each is work, a larger one more, 9 KB that of two; endless ones end the connection."""
    connection = Connection(changed(resets=Rate(10, 0.0)), client_side=False)
    connection.receive(PREFACE + frame(4, 0, 0))
    encoder = Encoder()
    fields = [*GRPC_HEADERS, ("x", "y" * 9_000)]
    for stream_id in (1, 3, 5, 7, 9):
        events = connection.receive(frame(1, 5, stream_id, encoder.encode(fields, huffman=False)))
        assert isinstance(events[0], OversizedHeaders)
        connection.end_stream(stream_id)
    with pytest.raises(ConnectionFailed):
        connection.receive(frame(1, 5, 11, encoder.encode(fields, huffman=False)))


def test_the_table_holds_fields_and_not_blocks() -> None:
    """A field of two bytes in a block of 8 KiB keeps its two bytes."""
    decoder = HeaderDecoder(16_384)
    decoder.decode(b"\x40\x01a\x01b" + b"\x00\x01c\x7f\xc1\x3e" + b"x" * 8_128)
    ((name, value),) = decoder._decoder.header_table.dynamic_entries
    assert type(name) is type(value) is bytes
    assert sys.getsizeof(name) + sys.getsizeof(value) < 100


def begun(**limits: Any) -> Connection:
    """A server's connection with stream 1, which it has reset."""
    connection = Connection(changed(**limits), client_side=False)
    connection.receive(PREFACE + frame(4, 0, 0) + frame(1, 4, 1, Encoder().encode(GRPC_HEADERS)))
    connection.reset(1, 0)
    return connection


def test_a_few_headers_after_our_reset_are_ignored() -> None:
    """What can have been under way; then the connection ends."""
    connection = begun()
    late = frame(1, 5, 1, b"\x82")
    for _ in range(3):
        assert connection.receive(late) == []
    with pytest.raises(ConnectionFailed) as caught:
        connection.receive(late)
    assert caught.value.kind == "HEADERS after RST_STREAM"


def test_data_after_our_reset_has_a_budget() -> None:
    """It cannot be told from what was under way, but not without end."""
    connection = begun(late_frames=Rate(20, 0.0), stream_window_bytes=80_000)
    late = frame(0, 0, 1, b"x")
    assert connection.receive(late * (20 + 80_000 // 8)) == []
    with pytest.raises(ConnectionFailed) as caught:
        connection.receive(late)
    assert caught.value.kind == "frames on streams that were reset"


def test_large_header_blocks_are_more_work() -> None:
    """One is a slice of its own, and none is decoded out of turn."""
    connection = Connection(SERVER_DEFAULTS, client_side=False)
    connection.receive(PREFACE + frame(4, 0, 0))
    encoder = Encoder()
    fields = [*GRPC_HEADERS, ("x", "~" * 7_500)]
    data = b"".join(frame(1, 5, n, encoder.encode(fields, huffman=True)) for n in (1, 3, 5))
    ping = frame(6, 0, 0, b"12345678")
    assert connection.receive(ping + data, 4) == []
    assert connection.pending_bytes
    for _ in range(3):
        assert connection.more
        assert len(connection.receive(b"", 16)) == 2  # a head and its end
    assert connection.receive(b"", 16) == []
    assert not connection.more


def test_a_block_that_is_passed_over_takes_several_turns() -> None:
    """48 KiB in Huffman's code are 12 ms: a part at a time, and what follows waits for its end."""
    connection = Connection(SERVER_DEFAULTS, client_side=False)
    connection.receive(PREFACE + frame(4, 0, 0))
    kept = b"\x40\x01x" + b"\xff\xc5\x12" + b"\x1f" * 2_500  # "a", 4,000 times
    block = kept * 19
    parts = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
    flags = [1, *[0] * (len(parts) - 2), 4]
    data = b"".join(
        frame(1 if number == 0 else 9, flag, 1, part)
        for number, (flag, part) in enumerate(zip(flags, parts, strict=True))
    )
    assert connection.receive(data + frame(1, 5, 3, Encoder().encode(GRPC_HEADERS)), 4) == []
    turns = 0
    events: list[object] = []
    while not events:
        assert connection.more
        events = list(connection.receive(b"", 4))
        turns += 1
    assert isinstance(events[0], OversizedHeaders)
    assert 5 <= turns <= 9
    assert len(connection.receive(b"", 4)) == 2
