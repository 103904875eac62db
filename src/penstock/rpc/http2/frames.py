"""Bytes to HTTP/2 frames and back: where a peer's frames are first judged (pure).

A frame is judged by its nine-byte header before any of its body is buffered, so that a frame which
is rejected costs no memory. Every kind that costs its sender next to nothing has a budget, because
a peer could otherwise keep this side busy with them.
"""

import struct
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from ..limits import Limits, Rate
from .protocol_errors import FRAME_SIZE_ERROR, ConnectionFault, Flood, FloodBudget, StreamFault

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES: Final = 9

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

_LONG: Final = struct.Struct(">L")
_HEADER: Final = struct.Struct(">HBBBL")
# RFC 9113 6.4, 6.7, 6.9: any other length ends the connection.
_EXACT_BYTES: Final = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_ON_STREAMS: Final = frozenset((DATA, HEADERS, PRIORITY, RST_STREAM, PUSH_PROMISE, CONTINUATION))
# Their budget depends on the stream's state, which only the receiver knows.
_JUDGED_BY_STREAM: Final = frozenset((DATA, WINDOW_UPDATE))
_ON_CONNECTION: Final = frozenset((SETTINGS, PING, GOAWAY))


class Frame(NamedTuple):
    """``body`` of DATA and HEADERS is without padding; ``flow_bytes`` counts it (DATA).

    DATA larger than allowed comes at once, without a body. A header block comes as one HEADERS
    frame, however many CONTINUATIONs it had.
    """

    kind: int
    flags: int
    stream_id: int
    body: bytes
    flow_bytes: int = 0


def encoded(kind: int, flags: int, stream_id: int, body: bytes = b"") -> bytes:
    """A whole frame, header included; ``body`` must fit the peer's maximum frame size."""
    size = len(body)
    return _HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + body


def long(value: int) -> bytes:
    """An unsigned 32-bit integer in network order, as most frames hold one."""
    return _LONG.pack(value)


def is_empty(flags: int, length: int) -> bool:
    """Whether DATA brings nothing, or next to nothing beside its padding, and no end either."""
    if flags & END_STREAM:
        return False
    return length == 0 or (bool(flags & PADDED) and length <= 256)


class FrameReader:
    """Cuts the peer's bytes into frames; iterating gives each complete frame once.

    Holds at most one frame, one header block and what was last added. Raises
    ConnectionFault, after which it cannot be used, and StreamFault, after which it can.
    """

    def __init__(
        self, limits: Limits, *, expect_preface: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._frame_bytes = limits.frame_bytes
        self._preface = PREFACE if expect_preface else b""
        self._data = b""
        self._position = 0
        self._unwanted = 0
        self._judged = False
        self._first = True
        self._block: list[bytes] = []
        self._block_head: Frame | None = None
        self._block_bytes = 0
        self._max_block_bytes = max(limits.header_block_bytes, 2 * limits.header_bytes)
        self._max_parts = limits.continuations + 1

        def budget(kind: str, rate: Rate) -> FloodBudget:
            return FloodBudget(kind, rate, clock)

        self.resets = budget("RST_STREAM", limits.resets)
        self.window_updates = budget("WINDOW_UPDATE", limits.window_updates)
        self.pings = budget("PING", limits.pings)
        self.empty_data = budget("empty DATA", limits.empty_data)
        self._unknown = budget("unknown frames", limits.unknown_frames)
        self._budgets = {
            RST_STREAM: self.resets,
            PING: self.pings,
            SETTINGS: budget("SETTINGS", limits.settings),
            PRIORITY: budget("PRIORITY", limits.priorities),
            GOAWAY: budget("GOAWAY", limits.settings),
        }

    @property
    def buffered_bytes(self) -> int:
        """Bytes held of frames and header blocks that are not complete."""
        return len(self._data) - self._position + sum(map(len, self._block))

    def add_data(self, data: bytes) -> None:
        """Adds received bytes. Raises ConnectionFault if the preface is not HTTP/2's."""
        if self._preface:
            size = min(len(self._preface), len(data))
            if data[:size] != self._preface[:size]:
                raise ConnectionFault("the connection preface is not HTTP/2's")
            self._preface = self._preface[size:]
            data = data[size:]
        if self._unwanted:
            size = min(self._unwanted, len(data))
            self._unwanted -= size
            data = data[size:]
        rest = self._data[self._position :] if self._position < len(self._data) else b""
        self._data = rest + data if rest else data
        self._position = 0

    def __iter__(self) -> "FrameReader":
        return self

    def __next__(self) -> Frame:
        while True:
            begin = self._position
            data = self._data
            body = begin + HEADER_BYTES
            if len(data) < body:
                raise StopIteration
            high, low, kind, flags, stream_id = _HEADER.unpack_from(data, begin)
            length = high << 8 | low
            stream_id &= 0x7FFFFFFF
            if not self._judged:
                self._judge(kind, flags, length, stream_id)
                self._judged = True
            end = body + length
            if length > self._frame_bytes:
                self._unwanted = max(0, end - len(data))
                self._position = min(end, len(data))
                self._judged = False
                return Frame(kind, flags, stream_id, b"", length)
            if len(data) < end:
                raise StopIteration
            self._position = end
            self._judged = False
            frame = self._frame(kind, flags, stream_id, data[body:end])
            if frame is not None:
                return frame

    def _judge(self, kind: int, flags: int, length: int, stream_id: int) -> None:
        """Raises for whatever a frame's header alone shows to be wrong, before its body is here."""
        if length > self._frame_bytes and (kind != DATA or self._first or self._block_head):
            raise ConnectionFault(
                f"a frame of {length} bytes; {self._frame_bytes} allowed", FRAME_SIZE_ERROR
            )
        if self._first:
            if kind != SETTINGS or flags & ACK:
                raise ConnectionFault("the first frame must be SETTINGS")
            self._first = False
        head = self._block_head
        if head is not None and (kind != CONTINUATION or stream_id != head.stream_id):
            raise ConnectionFault("a header block was interrupted")
        exact = _EXACT_BYTES.get(kind)
        if exact is not None and length != exact:
            raise ConnectionFault(f"a frame of type {kind} with {length} bytes", FRAME_SIZE_ERROR)
        if (stream_id == 0 and kind in _ON_STREAMS) or (stream_id and kind in _ON_CONNECTION):
            raise ConnectionFault(f"a frame of type {kind} on stream {stream_id}")
        if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
            self._judge_headers(kind, length, stream_id)
        elif kind in self._budgets:
            self._budgets[kind].take()
        elif kind not in _JUDGED_BY_STREAM:
            self._unknown.take()

    def _judge_headers(self, kind: int, length: int, stream_id: int) -> None:
        if kind != CONTINUATION:
            self._block_bytes = 0
        elif self._block_head is None:
            raise ConnectionFault("CONTINUATION without a header block")
        elif len(self._block) >= self._max_parts:
            raise _of(stream_id, Flood("CONTINUATION"))
        self._block_bytes += length
        if self._block_bytes > self._max_block_bytes:
            raise _of(stream_id, Flood("header bytes"))

    def _frame(self, kind: int, flags: int, stream_id: int, body: bytes) -> Frame | None:
        """The frame, a whole header block, or None while one is incomplete."""
        if kind == DATA:
            size = len(body)
            if flags & PADDED:
                body = _unpadded(body)
            return Frame(kind, flags, stream_id, body, size)
        if kind == HEADERS:
            if flags & PADDED:
                body = _unpadded(body)
            if flags & HAS_PRIORITY:
                if len(body) < 5:
                    raise ConnectionFault("HEADERS are too short", FRAME_SIZE_ERROR)
                body = body[5:]  # RFC 9113 5.3.2: ignored
            frame = Frame(kind, flags, stream_id, body)
            if flags & END_HEADERS:
                return frame
            self._block_head = frame
            self._block = [body]
            return None
        if kind == CONTINUATION:
            self._block.append(body)
            head = self._block_head
            if head is None or not flags & END_HEADERS:
                return None
            whole = head._replace(body=b"".join(self._block))
            self._block_head = None
            self._block = []
            return whole
        if kind == PRIORITY and len(body) != 5:
            raise StreamFault(stream_id, "PRIORITY has the wrong size", FRAME_SIZE_ERROR)
        return Frame(kind, flags, stream_id, body)


def _of(stream_id: int, fault: ConnectionFault) -> ConnectionFault:
    fault.stream_id = stream_id
    return fault


def _unpadded(body: bytes) -> bytes:
    # RFC 9113 6.1, 6.2: padding as long as the payload, or longer, is a connection error.
    if not body:
        raise ConnectionFault("a padded frame without a length of padding", FRAME_SIZE_ERROR)
    padding = body[0]
    if padding >= len(body):
        raise ConnectionFault("more padding than payload")
    return body[1 : len(body) - padding]
