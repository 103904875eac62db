"""Bytes to HTTP/2 frames: the place where a peer's frames are first judged (pure).

Stands in for h2's FrameBuffer, which buffers a frame before it looks at its length,
copies the rest of the buffer for each frame, and counts nothing.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from h2.errors import ErrorCodes
from h2.exceptions import FrameTooLargeError, ProtocolError
from hyperframe.exceptions import InvalidFrameError
from hyperframe.frame import Frame

from .limits import Limits, Rate

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADER_BYTES: Final = 9

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 5, 6, 7, 8, 9
_END_STREAM: Final = 0x1
_END_HEADERS: Final = 0x4
_PADDED: Final = 0x8
_EXACT_BYTES: Final = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}


class Flood(ProtocolError):  # type: ignore[misc]  # h2 is untyped
    """A budget is used up. ``kind`` names it."""

    error_code = ErrorCodes.ENHANCE_YOUR_CALM

    def __init__(self, kind: str) -> None:
        super().__init__(f"too many: {kind}")
        self.kind = kind


class FrameSize(ProtocolError):  # type: ignore[misc]  # h2 is untyped
    """RFC 9113 4.2: a length that the frame's type does not allow."""

    error_code = ErrorCodes.FRAME_SIZE_ERROR


class Budget:
    """A token bucket over a monotonic clock."""

    def __init__(self, kind: str, rate: Rate, clock: Callable[[], float]) -> None:
        self._kind = kind
        self._rate = rate
        self._clock = clock
        self._tokens = float(rate.burst)
        self._at = clock()

    def take(self) -> None:
        """Raises Flood when there is nothing left."""
        if self._tokens < 1.0:
            now = self._clock()
            grown = self._tokens + (now - self._at) * self._rate.per_s
            self._tokens = min(grown, float(self._rate.burst))
            self._at = now
            if self._tokens < 1.0:
                raise Flood(self._kind)
        self._tokens -= 1.0

    def give(self, tokens: int) -> None:
        """Adds tokens; they may exceed the burst tenfold."""
        if self._tokens < 10 * self._rate.burst:
            self._tokens += tokens


class FrameReader:
    """Iterating gives each complete frame once; a header block comes as one HEADERS frame.

    Holds at most one frame and what was last added. Raises h2's ProtocolError.
    """

    def __init__(
        self, limits: Limits, *, expect_preface: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.max_frame_size = limits.frame_bytes  # h2 assigns it before each read
        self._frame_bytes = limits.frame_bytes
        self._preface = PREFACE if expect_preface else b""
        self._data = b""
        self._position = 0
        self._judged = False
        self._first = True
        self._block: list[Any] = []
        self._block_bytes = 0
        self._max_block_bytes = 2 * limits.header_bytes
        self._continuations = limits.continuations

        def budget(kind: str, rate: Rate) -> Budget:
            return Budget(kind, rate, clock)

        self.resets = budget("RST_STREAM", limits.resets)
        self.window_updates = budget("WINDOW_UPDATE", limits.window_updates)
        self._empty_data = budget("empty DATA", limits.empty_data)
        self._unknown = budget("unknown frames", limits.unknown_frames)
        self._budgets = {
            RST_STREAM: self.resets,
            PING: budget("PING", limits.pings),
            SETTINGS: budget("SETTINGS", limits.settings),
            PRIORITY: budget("PRIORITY", limits.priorities),
            WINDOW_UPDATE: self.window_updates,
            GOAWAY: budget("GOAWAY", limits.settings),
        }

    def add_data(self, data: bytes) -> None:
        if self._preface:
            size = min(len(self._preface), len(data))
            if data[:size] != self._preface[:size]:
                raise ProtocolError("the connection preface is not HTTP/2's")
            self._preface = self._preface[size:]
            data = data[size:]
        rest = self._data[self._position :] if self._position < len(self._data) else b""
        self._data = rest + data if rest else data
        self._position = 0

    def __iter__(self) -> "FrameReader":
        return self

    def __next__(self) -> Any:
        while True:
            begin = self._position
            data = self._data
            body = begin + _HEADER_BYTES
            if len(data) < body:
                raise StopIteration
            length = data[begin] << 16 | data[begin + 1] << 8 | data[begin + 2]
            if not self._judged:
                stream_id = int.from_bytes(data[begin + 5 : body], "big") & 0x7FFFFFFF
                self._judge(data[begin + 3], data[begin + 4], length, stream_id)
                self._judged = True
            end = body + length
            if len(data) < end:
                raise StopIteration
            self._position = end
            self._judged = False
            frame = self._parse(data[begin:body], memoryview(data)[body:end])
            frame = self._assembled(frame)
            if frame is not None:
                return frame

    def _judge(self, kind: int, flags: int, length: int, stream_id: int) -> None:
        """Everything that a frame's header alone can be refused for, before its body is here."""
        if length > self._frame_bytes:
            raise FrameTooLargeError(f"a frame of {length} bytes; {self._frame_bytes} allowed")
        if self._first:
            if kind != SETTINGS or flags & 0x1:
                raise ProtocolError("the first frame must be SETTINGS")
            self._first = False
        exact = _EXACT_BYTES.get(kind)
        if exact is not None and length != exact:
            raise FrameSize(f"a frame of type {kind} with {length} bytes")
        if self._block and (kind != CONTINUATION or stream_id != self._block[0].stream_id):
            raise ProtocolError("a header block was interrupted")
        if kind in (HEADERS, PUSH_PROMISE, CONTINUATION):
            self._judge_headers(kind, length)
        elif kind == DATA:
            little = not length or (flags & _PADDED and length <= 256)
            if little and not flags & _END_STREAM:
                self._empty_data.take()
        elif kind in self._budgets:
            self._budgets[kind].take()
        else:
            self._unknown.take()

    def _judge_headers(self, kind: int, length: int) -> None:
        if kind != CONTINUATION:
            self._block_bytes = 0
        elif not self._block:
            raise ProtocolError("CONTINUATION without a header block")
        elif len(self._block) > self._continuations:
            raise Flood("CONTINUATION")
        self._block_bytes += length
        if self._block_bytes > self._max_block_bytes:
            raise Flood("header bytes")

    def _parse(self, header: bytes, body: memoryview) -> Any:
        try:
            frame, _ = Frame.parse_frame_header(header)
        except (ValueError, InvalidFrameError) as error:
            raise ProtocolError(f"a frame header is invalid: {error}") from error
        try:
            frame.parse_body(body)
        except InvalidFrameError as error:
            raise FrameSize(f"a frame is too short for its type: {error}") from error
        return frame

    def _assembled(self, frame: Any) -> Any:
        """The frame itself, a whole header block, or None while one is incomplete."""
        if frame.type == CONTINUATION:
            self._block.append(frame)
            if "END_HEADERS" not in frame.flags:
                return None
            whole = self._block[0]
            whole.flags.add("END_HEADERS")
            whole.data = b"".join(part.data for part in self._block)
            self._block = []
            return whole
        if frame.type in (HEADERS, PUSH_PROMISE) and "END_HEADERS" not in frame.flags:
            self._block.append(frame)
            return None
        return frame
