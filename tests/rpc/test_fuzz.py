"""The protocol layer under any bytes, against h2 as its oracle, and against itself."""

import random
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from raw import GRPC_HEADERS, PREFACE, frame
from toy import changed

from penstock.rpc.http2 import events as ev
from penstock.rpc.http2.connection import Connection, ConnectionFailed
from penstock.rpc.http2.frames import GOAWAY, HEADER_BYTES
from penstock.rpc.http2.protocol_errors import CANCEL
from penstock.rpc.limits import CLIENT_DEFAULTS, SERVER_DEFAULTS

HEADERS = [(name.encode(), value.encode()) for name, value in GRPC_HEADERS]
RESPONSE = [(b":status", b"200"), (b"content-type", b"application/grpc")]
BLOCK = bytes.fromhex("838487") + b"\x00\x04path\x01/"

bodies = st.one_of(
    st.binary(max_size=40),
    st.just(BLOCK),
    st.integers(0, 2**32 - 1).map(lambda value: value.to_bytes(4, "big")),
)
frames = st.builds(frame, st.integers(0, 11), st.integers(0, 255), st.integers(0, 9), bodies)
soups = st.lists(frames, max_size=30).map(b"".join)


def fed(connection: Connection, data: bytes) -> tuple[list[ev.Event], str | None]:
    """Events until the end, and the kind of failure if there was one."""
    try:
        return connection.receive(data), None
    except ConnectionFailed as failure:
        return [], failure.kind


def last_frame_kind(data: bytes | bytearray) -> int:
    kind = -1
    while len(data) >= HEADER_BYTES:
        kind = data[3]
        data = data[HEADER_BYTES + int.from_bytes(data[:3], "big") :]
    assert not data, "half a frame was written"
    return kind


@settings(max_examples=400)
@given(st.booleans(), st.one_of(st.binary(max_size=300), soups))
def test_any_bytes_end_the_connection_or_nothing(client_side: bool, data: bytes) -> None:
    """No exception but ConnectionFailed, never of kind ``engine``; then GOAWAY is the last word."""
    connection = Connection(SERVER_DEFAULTS, client_side=client_side)
    connection.start()
    greeting = len(connection.take())
    assert greeting
    start = b"" if client_side else PREFACE
    _, kind = fed(connection, start + frame(4, 0, 0) + data)
    assert kind != "engine"
    if kind is not None:
        assert last_frame_kind(connection.take()) == GOAWAY
    statistics = connection.statistics()
    assert statistics["open_streams"] <= len(data) // HEADER_BYTES
    assert statistics["buffered_bytes"] <= len(data)


@settings(max_examples=200)
@given(soups, st.lists(st.integers(1, 40), max_size=20), st.integers(1, 5))
def test_cuts_and_slices_change_nothing(soup: bytes, cuts: list[int], most: int) -> None:
    """However bytes arrive and in however small slices they are handled: the same events."""
    data = PREFACE + frame(4, 0, 0) + soup
    whole = Connection(SERVER_DEFAULTS, client_side=False)
    pieces = Connection(SERVER_DEFAULTS, client_side=False)
    expected: list[ev.Event] = []
    failed = False
    try:
        while True:  # frame by frame, so that what comes before a failure is seen
            expected += whole.receive(data, 1)
            data_left = whole.more
            data = b""
            if not data_left:
                break
    except ConnectionFailed:
        failed = True
    found: list[ev.Event] = []
    data = PREFACE + frame(4, 0, 0) + soup
    position = 0
    try:
        for size in [*cuts, len(data)]:
            found += pieces.receive(data[position : position + size], 1)
            while pieces.more:
                found += pieces.receive(b"", 1)
            position += size
    except ConnectionFailed:
        assert failed
    else:
        assert not failed
    assert found == expected
    assert bytes(whole.take()) == bytes(pieces.take())
    assert most


def h2_connection(*, client_side: bool) -> Any:
    connection = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=client_side, header_encoding="utf-8")
    )
    connection.initiate_connection()
    return connection


class AgainstH2(RuleBasedStateMachine):
    """h2 is the client and checks every byte of ours; both sides must tell the same story."""

    def __init__(self) -> None:
        super().__init__()
        self.h2 = h2_connection(client_side=True)
        self.ours = Connection(changed(stream_window_bytes=2_000), client_side=False)
        self.ours.start()
        self.open: list[int] = []
        self.sent: dict[int, bytes] = {}
        self.got: dict[int, bytes] = {}
        self.answered: dict[int, bytes] = {}
        self.heard: dict[int, bytes] = {}
        self.random = random.Random(0)
        self.exchange()

    def exchange(self) -> None:
        """Everything that waits, in both directions, in pieces."""
        while (data := self.h2.data_to_send()) or self.ours.pending_bytes:
            while data:
                size = self.random.randint(1, 500)
                for event in self.ours.receive(data[:size]):
                    self.told(event)
                data = data[size:]
            for event in self.h2.receive_data(bytes(self.ours.take())):
                if isinstance(event, h2.events.DataReceived):
                    self.heard[event.stream_id] += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def told(self, event: ev.Event) -> None:
        match event:
            case ev.HeadersArrived():
                assert [(n, v) for n, v in event.headers if n[:1] == b":"]
                self.got[event.stream_id] = b""
            case ev.DataArrived():
                self.got[event.stream_id] += event.data
                self.ours.acknowledge(event.stream_id, event.flow_bytes)
            case ev.StreamEnded():
                assert self.got[event.stream_id] == self.sent[event.stream_id]

    @rule()
    def request(self) -> None:
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, GRPC_HEADERS)
        self.open.append(stream_id)
        self.sent[stream_id] = self.answered[stream_id] = self.heard[stream_id] = b""
        self.exchange()
        self.ours.send_headers(stream_id, RESPONSE, end_stream=False)
        self.exchange()

    @precondition(lambda self: self.open)
    @rule(size=st.integers(0, 3_000), padding=st.none() | st.integers(0, 100), which=st.integers(0))
    def send(self, size: int, padding: int | None, which: int) -> None:
        stream_id = self.open[which % len(self.open)]
        room = self.h2.local_flow_control_window(stream_id) - (padding or 0) - 1
        data = self.random.randbytes(min(size, max(0, room)))
        if padding is not None and room < 0:
            padding = None
        self.h2.send_data(stream_id, data, pad_length=padding)
        self.sent[stream_id] += data
        self.exchange()

    @precondition(lambda self: self.open)
    @rule(size=st.integers(0, 3_000), which=st.integers(0))
    def answer(self, size: int, which: int) -> None:
        stream_id = self.open[which % len(self.open)]
        data = self.random.randbytes(min(size, self.ours.send_window(stream_id)))
        if not data:
            return  # nor does a Stream send frames that carry nothing
        self.ours.send_data(stream_id, data)
        self.answered[stream_id] += data
        self.exchange()
        assert self.heard[stream_id] == self.answered[stream_id]

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0), how=st.sampled_from(["end", "ours", "theirs"]))
    def finish(self, which: int, how: str) -> None:
        stream_id = self.open.pop(which % len(self.open))
        if how == "end":
            self.h2.end_stream(stream_id)
            self.ours.send_headers(stream_id, [(b"grpc-status", b"0")], end_stream=True)
        elif how == "ours":
            self.ours.reset(stream_id, CANCEL)
        else:
            self.h2.reset_stream(stream_id)
        self.exchange()
        assert self.ours.send_window(stream_id) == -1

    @rule(
        window=st.integers(0, 100_000),
        size=st.integers(16_384, 100_000),
        table=st.integers(0, 9_000),
    )
    def settings(self, window: int, size: int, table: int) -> None:
        codes = h2.connection.SettingCodes
        self.h2.update_settings(
            {
                codes.INITIAL_WINDOW_SIZE: window,
                codes.MAX_FRAME_SIZE: size,
                codes.HEADER_TABLE_SIZE: table,
            }
        )
        self.exchange()

    @rule()
    def ping(self) -> None:
        self.h2.ping(b"12345678")
        self.ours.ping(b"87654321")
        self.exchange()

    @invariant()
    def streams_are_those_that_are_open(self) -> None:
        assert self.ours.statistics()["open_streams"] == len(self.open)


TestAgainstH2 = AgainstH2.TestCase
TestAgainstH2.settings = settings(max_examples=60, stateful_step_count=30)


class BothOurs(RuleBasedStateMachine):
    """Our client and our server in memory: what one sends is what the other is told."""

    def __init__(self) -> None:
        super().__init__()
        small = {"stream_window_bytes": 1_000, "connection_window_bytes": 70_000}
        self.server = Connection(changed(**small), client_side=False)
        self.client = Connection(CLIENT_DEFAULTS, client_side=True)
        self.server.start()
        self.client.start()
        self.sent: dict[tuple[bool, int], bytes] = {}
        self.got: dict[tuple[bool, int], bytes] = {}
        self.open: list[int] = []
        self.random = random.Random(0)
        self.exchange()

    def exchange(self) -> None:
        while self.server.pending_bytes or self.client.pending_bytes:
            for source, target in ((self.client, self.server), (self.server, self.client)):
                data = bytes(source.take())
                while data:
                    size = self.random.randint(1, 2_000)
                    for event in target.receive(data[:size]):
                        if isinstance(event, ev.DataArrived):
                            self.got[source is self.client, event.stream_id] += event.data
                            target.acknowledge(event.stream_id, event.flow_bytes)
                        assert not isinstance(event, ev.StreamReset) or event.by_peer
                    data = data[size:]

    @rule()
    def open_stream(self) -> None:
        stream_id = self.client.next_stream_id()
        self.client.open_stream(stream_id, HEADERS)
        self.exchange()
        self.server.send_headers(stream_id, RESPONSE, end_stream=False)
        self.open.append(stream_id)
        for side in (True, False):
            self.sent[side, stream_id] = self.got[side, stream_id] = b""
        self.exchange()

    @precondition(lambda self: self.open)
    @rule(size=st.integers(0, 5_000), which=st.integers(0), from_client=st.booleans())
    def send(self, size: int, which: int, from_client: bool) -> None:
        stream_id = self.open[which % len(self.open)]
        side = self.client if from_client else self.server
        data = self.random.randbytes(min(size, side.send_window(stream_id)))
        side.send_data(stream_id, data)
        self.sent[from_client, stream_id] += data
        self.exchange()
        assert self.got == self.sent

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0), reset=st.booleans(), by_client=st.booleans())
    def finish(self, which: int, reset: bool, by_client: bool) -> None:
        stream_id = self.open.pop(which % len(self.open))
        if reset:
            (self.client if by_client else self.server).reset(stream_id, CANCEL)
        else:
            self.client.end_stream(stream_id)
            self.server.send_headers(stream_id, [(b"grpc-status", b"0")], end_stream=True)
        self.exchange()

    @invariant()
    def both_count_the_same_streams(self) -> None:
        for side in (self.client, self.server):
            assert side.statistics()["open_streams"] == len(self.open)
            assert side.statistics()["buffered_bytes"] == 0


TestBothOurs = BothOurs.TestCase
TestBothOurs.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize("size", [0, 1, 100, 16_384, 40_000])
def test_headers_of_any_size_reach_h2(size: int) -> None:
    """Blocks over the peer's frame size are continued; h2 reads them."""
    theirs = h2_connection(client_side=False)
    ours = Connection(CLIENT_DEFAULTS, client_side=True)
    ours.start()
    ours.open_stream(1, [*HEADERS, (b"x", b"y" * size)])
    found = theirs.receive_data(bytes(ours.take()))
    (request,) = [each for each in found if isinstance(each, h2.events.RequestReceived)]
    assert dict(request.headers)["x"] == "y" * size
