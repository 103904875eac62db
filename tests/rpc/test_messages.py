"""The pure parts: messages, header fields, statuses, frames and their budgets."""

import itertools

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from hypothesis import given
from hypothesis import strategies as st
from raw import PREFACE, frame
from toy import changed

from penstock.rpc import metadata
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.http2.connection import Connection
from penstock.rpc.http2.frames import DATA, END_STREAM, HEADERS, PING, FrameReader
from penstock.rpc.http2.frames import SETTINGS as SETTINGS_KIND
from penstock.rpc.http2.protocol_errors import FRAME_SIZE_ERROR, ConnectionFault, Flood, FloodBudget
from penstock.rpc.limits import Limits, Rate
from penstock.rpc.message_framing import Deframer, prefix
from penstock.rpc.status_codec import error_from_reset, error_from_trailers, trailers_of

SETTINGS = frame(4, 0, 0)
LIMITS = Limits()


@given(st.lists(st.binary(max_size=200), max_size=8), st.lists(st.integers(0, 900), max_size=20))
def test_messages_survive_any_cutting(messages: list[bytes], cuts: list[int]) -> None:
    """However DATA is cut, the same messages come out, and nothing is left."""
    data = b"".join(prefix(len(message)) + message for message in messages)
    deframer = Deframer(200)
    got: list[bytes] = []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for begin, end in itertools.pairwise(edges):
        deframer.feed(data[begin:end])
        while deframer.ready and (end % 3 or end == len(data)):  # not always at once
            got.append(deframer.take())
            deframer.next_message()
    assert got == messages
    assert deframer.pending_bytes == 0


def test_messages_are_cut_when_they_are_taken() -> None:
    """Thousands of empty ones in a frame are work for who takes them, not for who feeds."""
    deframer = Deframer(100)
    deframer.feed(prefix(0) * 3_000 + prefix(101))
    for left in range(3_000, 0, -1):
        assert deframer.ready
        assert deframer.pending_bytes == 5 * (left + 1)
        assert deframer.take() == b""
        if left > 1:
            deframer.next_message()
    with pytest.raises(RpcError):
        deframer.next_message()


def test_length_is_judged_by_the_prefix() -> None:
    """Before a byte of the message is there."""
    deframer = Deframer(100)
    with pytest.raises(RpcError) as caught:
        deframer.feed(prefix(101))
    assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED


@given(st.text())
def test_grpc_message_round_trip(text: str) -> None:
    """Any text crosses as printable ASCII."""
    encoded = metadata.percent_encoded(text, 10_000)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert metadata.percent_decoded(encoded) == text.encode("utf-8", "replace").decode()


@given(st.text(min_size=5), st.integers(0, 40))
def test_grpc_message_is_cut_between_escapes(text: str, size: int) -> None:
    encoded = metadata.percent_encoded(text, size)
    assert len(encoded) <= size
    assert metadata.percent_encoded(text, 10_000).startswith(encoded)
    assert b"%" not in encoded[-2:] or encoded[-2:].count(b"%") == 0


@given(st.binary(), st.booleans())
def test_binary_metadata(value: bytes, padded: bool) -> None:
    """With and without padding."""
    ((name, encoded),) = metadata.encode_metadata([("key-bin", value)])
    assert name == b"key-bin"
    encoded += b"=" * (-len(encoded) % 4) if padded else b""
    assert metadata.decode_binary(encoded) == value


@pytest.mark.parametrize(
    "field",
    [("UPPER", "x"), ("grpc-x", "x"), (":x", "x"), ("x", "a\nb"), ("x-bin", "text"), ("x", b"b")],
)
def test_metadata_that_cannot_be_sent(field: tuple[str, str | bytes]) -> None:
    with pytest.raises(ValueError, match=r"must be|name for metadata"):
        metadata.encode_metadata([field])


@given(st.floats(0, 1e12))
def test_timeout_is_never_shortened(timeout_s: float) -> None:
    """At most eight digits; rounded up by less than a per mille, or to the longest there is."""
    encoded = metadata.format_timeout(timeout_s)
    assert len(encoded) <= 9
    back = metadata._timeout(encoded)
    assert back is not None
    if timeout_s < 99_999_999 * 3600:
        assert back >= timeout_s * (1 - 1e-9)
        assert back <= max(timeout_s * 1.001, timeout_s + 2e-6)


def test_details_round_trip() -> None:
    """Known types come back as themselves, unknown ones as Any, broken ones not at all."""
    unknown = AnyMessage(type_url="type.googleapis.com/no.Such", value=b"x")
    error = RpcError(StatusCode.UNAVAILABLE, "later", (RetryInfo(),))
    back = error_from_trailers(dict(trailers_of(error, LIMITS)))
    assert back is not None
    assert (back.code, back.message, back.details) == (error.code, "later", (RetryInfo(),))
    from google.rpc import status_pb2

    status = status_pb2.Status(code=14, details=[unknown])
    ((_, encoded),) = metadata.encode_metadata([("x-bin", status.SerializeToString())])
    for raw, expected in ((encoded, (unknown,)), (b"AAAA", ()), (b"!", ())):
        fields = {b"grpc-status": b"14", b"grpc-status-details-bin": raw}
        found = error_from_trailers(fields)
        assert found is not None
        assert found.details == expected


def test_statuses_without_grpc_status() -> None:
    """Proxies and resets are translated as gRPC says."""
    for http, code in ((b"200", "UNKNOWN"), (b"401", "UNAUTHENTICATED"), (b"503", "UNAVAILABLE")):
        error = error_from_trailers({b":status": http})
        assert error is not None
        assert error.code.name == code
    assert error_from_trailers({b"grpc-status": b"0"}) is None
    for raw in (b"99", b"x", b""):
        error = error_from_trailers({b"grpc-status": raw})
        assert error is not None
        assert error.code is StatusCode.UNKNOWN
    assert error_from_reset(7).code is StatusCode.UNAVAILABLE
    assert error_from_reset(8).code is StatusCode.CANCELLED
    assert error_from_reset(99).code is StatusCode.INTERNAL


def test_long_details_are_left_out() -> None:
    """The status itself must arrive."""
    huge = AnyMessage(value=b"x" * 10_000)
    headers = dict(trailers_of(RpcError(StatusCode.ABORTED, "x" * 9000, (huge,)), LIMITS))
    assert b"grpc-status-details-bin" not in headers
    assert len(headers[b"grpc-message"]) == LIMITS.metadata_message_bytes


@pytest.mark.parametrize("raw", [b"00", b"+0", b" 0", b"17", b"-1", b"x", b""])
def test_a_status_that_is_none_is_unknown(raw: bytes) -> None:
    """Never OK, which no failure may be."""
    error = error_from_trailers({b"grpc-status": raw})
    assert error is not None
    assert error.code is StatusCode.UNKNOWN


def test_no_timeout_is_not_sent() -> None:
    """Infinity is none, and what is nearly as long is the longest that can be written."""
    for timeout_s in (None, float("inf")):
        headers = metadata.request_headers("/a/b", "localhost", timeout_s, (), "test")
        assert b"grpc-timeout" not in dict(headers)
    assert metadata.format_timeout(float("inf")) == b"99999999H"
    assert metadata.format_timeout(1e300) == b"99999999H"


def test_budget() -> None:
    """The burst, then the rate."""
    now = 0.0
    budget = FloodBudget("thing", Rate(3, 2.0), lambda: now)
    for _ in range(3):
        budget.take()
    with pytest.raises(Flood, match="thing"):
        budget.take()
    now = 1.0
    budget.take()
    budget.take()
    with pytest.raises(Flood):
        budget.take()
    now = 1000.0
    for _ in range(3):
        budget.take()
    with pytest.raises(Flood):
        budget.take()


@given(st.lists(st.integers(1, 60), max_size=30))
def test_frames_survive_any_cutting(sizes: list[int]) -> None:
    """The same frames come out of any pieces, the preface included."""
    data = PREFACE + SETTINGS + frame(6, 0, 0, b"12345678") + frame(0, 1, 1, b"x" * 100)
    reader = FrameReader(LIMITS, expect_preface=True)
    found = []
    position = 0
    for size in [*sizes, len(data)]:
        reader.add_data(data[position : position + size])
        position += size
        found += [each.kind for each in reader]
    assert found == [SETTINGS_KIND, PING, DATA]


def test_header_block_comes_as_one() -> None:
    reader = FrameReader(LIMITS, expect_preface=False)
    reader.add_data(SETTINGS + frame(1, 1, 1, b"abc") + frame(9, 0, 1, b"def"))
    assert [each.kind for each in reader] == [SETTINGS_KIND]
    reader.add_data(frame(9, 4, 1, b"ghi"))
    (headers,) = list(reader)
    assert (headers.kind, headers.body) == (HEADERS, b"abcdefghi")
    assert headers.flags & END_STREAM


@pytest.mark.parametrize(
    "data",
    [
        frame(1, 0, 1, b"abc") + frame(6, 0, 0, b"12345678"),
        frame(1, 0, 1, b"abc") + frame(9, 4, 3, b"def"),
        frame(9, 4, 1, b"def"),
        frame(0, 0, 0, b"data on the connection"),
        frame(6, 0, 1, b"12345678"),
    ],
)
def test_forbidden_frames(data: bytes) -> None:
    reader = FrameReader(LIMITS, expect_preface=False)
    reader.add_data(SETTINGS + data)
    with pytest.raises(ConnectionFault):
        list(reader)


def test_nothing_is_buffered_of_a_frame_that_is_too_large() -> None:
    """HEADERS end the connection; DATA is told of at once, and what follows is let go of."""
    reader = FrameReader(LIMITS, expect_preface=False)
    reader.add_data(SETTINGS + b"\x00\x40\x01" + b"\0\0\0\0\0\x01")
    data = list(reader)[-1]
    assert (data.kind, data.stream_id, data.body, data.flow_bytes) == (0, 1, b"", 16_385)
    for _ in range(16_385 // 5):
        reader.add_data(b"abcde")
        assert list(reader) == []
        assert reader.buffered_bytes == 0
    reader.add_data(frame(6, 0, 0, b"12345678"))
    assert [each.kind for each in reader] == [PING]
    reader.add_data(b"\x00\x40\x01" + b"\1\0\0\0\0\x01")
    with pytest.raises(ConnectionFault) as caught:
        list(reader)
    assert caught.value.code == FRAME_SIZE_ERROR


def test_budget_is_taken_once_for_a_frame_in_pieces() -> None:
    reader = FrameReader(changed(pings=Rate(1, 0.0)), expect_preface=False)
    ping = frame(6, 0, 0, b"12345678")
    reader.add_data(SETTINGS)
    found = []
    for byte in ping:
        reader.add_data(bytes((byte,)))
        found += list(reader)
    assert [each.kind for each in found] == [SETTINGS_KIND, PING]
    reader.add_data(ping)
    with pytest.raises(Flood):
        list(reader)


def test_no_more_frames_than_asked_for_are_handled() -> None:
    """Those that break a rule of their stream count as well."""
    connection = Connection(LIMITS, client_side=False)
    connection.receive(PREFACE + SETTINGS + frame(1, 0x5, 1, b"\x82\x87\x84"))
    for most in (1, 2, 3):
        data = frame(0, 0, 1) + frame(6, 0, 0, b"12345678") * 2
        connection.take()
        connection.receive(data, most)
        assert connection.more
        rest = 0
        while connection.more:
            connection.receive(b"", 1)
            rest += 1
        assert rest == 3 - most + 1  # the last finds nothing
