"""One HTTP/2 connection without I/O: bytes in, events out; commands in, bytes out (pure).

``receive`` is the only way in for the peer's bytes, and ``take`` the only way out for this side's.
"""

from ..limits import Limits
from . import events as ev
from . import settings
from .connection_state import HIGHEST_STREAM_ID, ConnectionFailed
from .frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    encoded,
    long,
)
from .header_blocks import NO_TABLE, encode
from .protocol_errors import ConnectionFault
from .receiver import Receiver
from .settings import DEFAULT_WINDOW

__all__ = ["HIGHEST_STREAM_ID", "Connection", "ConnectionFailed"]


class Connection(Receiver):
    """Either side of a connection: commands in, bytes out, and no wait anywhere.

    After ConnectionFailed the owner may only ``take`` what is queued, because the connection's
    state is no longer one that RFC 9113 describes.
    """

    def __init__(self, limits: Limits, *, client_side: bool) -> None:
        super().__init__(limits, client_side=client_side)
        self._table_told = False

    def start(self) -> None:
        """Queues preface, SETTINGS and the connection's window."""
        limits = self._limits
        values = {
            settings.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            settings.MAX_FRAME_SIZE: limits.frame_bytes,
            settings.MAX_HEADER_LIST_SIZE: limits.header_bytes,
        }
        if self._client_side:
            self._out += PREFACE
            values[settings.ENABLE_PUSH] = 0
        else:
            values[settings.MAX_CONCURRENT_STREAMS] = limits.streams
        self._out += encoded(SETTINGS, 0, 0, settings.encode(values))
        if self._receive_window > DEFAULT_WINDOW:
            increment = long(self._receive_window - DEFAULT_WINDOW)
            self._out += encoded(WINDOW_UPDATE, 0, 0, increment)

    # What waits to be written.

    @property
    def pending_bytes(self) -> int:
        """Bytes that are queued for the transport and were not taken yet."""
        return len(self._out)

    def take_parts(self) -> list[bytes | bytearray | memoryview]:
        """All queued bytes, in pieces, so that large ones need no copy. The queue is empty then."""
        return self._out.take()

    def take(self) -> bytes:
        """All queued bytes as one piece. The queue is empty then."""
        return b"".join(self._out.take())

    def statistics(self) -> dict[str, int]:
        """open_streams, pending_bytes, buffered_bytes; for tests and diagnostics."""
        return {
            "open_streams": len(self._streams),
            "pending_bytes": len(self._out),
            "buffered_bytes": self._reader.buffered_bytes,
        }

    # Commands. Those for a stream that has ended do nothing.

    def next_stream_id(self) -> int:
        """Raises ConnectionFailed when a connection has used up its 2**30 streams."""
        if self._next_id > HIGHEST_STREAM_ID:
            raise ConnectionFailed("streams", "the connection has used up its streams")
        return self._next_id

    @property
    def max_outbound_streams(self) -> int:
        """How many streams the peer's SETTINGS let this side have open at once."""
        return self._peer.max_streams

    def open_stream(self, stream_id: int, headers: ev.Headers) -> None:
        """Client: begins the stream that ``next_stream_id`` has named."""
        self._open(stream_id)
        self._next_id = stream_id + 2
        self._send_block(stream_id, headers, end_stream=False)

    def send_headers(self, stream_id: int, headers: ev.Headers, *, end_stream: bool) -> None:
        """Server: a response's head, or its trailers. Never waits for a window."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.local_open:
            return
        self._send_block(stream_id, headers, end_stream=end_stream)
        if end_stream:
            stream.local_open = False
            self._close_if_ended(stream_id, stream)

    def _send_block(self, stream_id: int, headers: ev.Headers, *, end_stream: bool) -> None:
        block = encode(headers)
        if not self._table_told:
            self._table_told = True
            block = NO_TABLE + block
        size = self._peer.max_frame_bytes
        kind, flags = HEADERS, END_STREAM if end_stream else 0
        while len(block) > size:
            self._out += encoded(kind, flags, stream_id, block[:size])
            block = block[size:]
            kind, flags = CONTINUATION, 0
        self._out += encoded(kind, flags | END_HEADERS, stream_id, block)

    def send_window(self, stream_id: int) -> int:
        """How many bytes one DATA frame may carry now; 0: wait. -1: the stream has ended."""
        stream = self._streams.get(stream_id)
        if stream is None or not stream.local_open:
            return -1
        window = min(
            self._send_window,
            stream.send_window,
            self._peer.max_frame_bytes,
            self._limits.outbound_frame_bytes,
        )
        return max(0, window)

    def send_data(self, stream_id: int, head: bytes, data: bytes | memoryview = b"") -> None:
        """Queues one DATA frame. The caller has asked ``send_window``.

        It must never change ``data`` afterwards, because large pieces are queued without a copy.
        """
        size = len(head) + len(data)
        self._out += size.to_bytes(3, "big") + b"\0\0" + stream_id.to_bytes(4, "big") + head
        if data:
            self._out.add(data)
        self._send_window -= size
        stream = self._streams[stream_id]
        stream.send_window -= size
        if stream.window_updates:
            granted = self._limits.window_updates_per_data
            stream.window_updates = max(0, stream.window_updates - granted)
        self._reader.window_updates.give(self._limits.window_updates_per_data)
        self._reader.pings.give(self._limits.pings_per_data)

    def end_stream(self, stream_id: int) -> None:
        """Ends this side's half of a stream. The peer may still send on it."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.local_open:
            self._out += encoded(DATA, END_STREAM, stream_id)
            stream.local_open = False
            self._close_if_ended(stream_id, stream)

    def reset(self, stream_id: int, code: int) -> None:
        """Queues RST_STREAM, which ends a stream in both directions. Nothing if it has ended."""
        if stream_id in self._streams:
            self._out += encoded(RST_STREAM, 0, stream_id, long(code))
            self._reset_by_us(stream_id)

    def count_late_frame(self) -> None:
        """Counts DATA for a call that has failed already. Raises ConnectionFailed on too many."""
        try:
            self._late_frames.take()
        except ConnectionFault as fault:
            raise self._failed(fault) from fault

    def refuse(self, stream_id: int, code: int) -> None:
        """Resets a stream for a fault of the peer's. Raises ConnectionFailed on too many."""
        try:
            self._reader.resets.take()
        except ConnectionFault as fault:
            raise self._failed(fault) from fault
        self.reset(stream_id, code)

    def acknowledge(self, stream_id: int, flow_bytes: int) -> None:
        """Hands ``flow_bytes`` of window back to the peer.

        The WINDOW_UPDATE is sent when half of a window has come together, because one for each
        DATA frame would double the frames.
        """
        if not flow_bytes:
            return
        self._acknowledge_connection(flow_bytes)
        stream = self._streams.get(stream_id)
        if stream is not None and stream.remote_open:
            stream.acknowledged += flow_bytes
            if stream.acknowledged * 2 >= self._limits.stream_window_bytes:
                self._out += encoded(WINDOW_UPDATE, 0, stream_id, long(stream.acknowledged))
                stream.receive_window += stream.acknowledged
                stream.acknowledged = 0

    def ping(self, data: bytes) -> None:
        """``data`` is eight bytes; they come back in PingAnswered."""
        self._reader.pings.give(1)  # the answer is asked for
        self._out += encoded(PING, 0, 0, data)
