"""What both halves of a connection read and write, and the moves that both make (pure).

receiver.py is the half that receives, connection.py the half that sends. Each is a subclass of the
one before, because a frame that arrives changes what may be sent, and the other way round.
"""

from typing import Final

from ..limits import Limits
from .frames import GOAWAY, RST_STREAM, WINDOW_UPDATE, encoded, long
from .late_frames import LateFrames
from .outbox import Outbox
from .protocol_errors import ConnectionFault
from .settings import DEFAULT_WINDOW, PeerSettings
from .stream_state import StreamState

HIGHEST_STREAM_ID: Final = 2**31 - 1
TEXT_BYTES: Final = 200  # of GOAWAY's debug data, either way


class ConnectionFailed(Exception):
    """The peer broke the protocol; its GOAWAY is ready to be written. ``kind`` is for counters."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ConnectionState:
    """Streams that are not closed, windows of the connection, and what waits to be written."""

    def __init__(self, limits: Limits, *, client_side: bool) -> None:
        self._limits = limits
        self._client_side = client_side
        self._peer = PeerSettings()
        self._streams: dict[int, StreamState] = {}
        self._late_frames = LateFrames(limits)
        self._out = Outbox()
        self._send_window = DEFAULT_WINDOW
        self._receive_window = max(DEFAULT_WINDOW, limits.connection_window_bytes)
        self._acknowledged = 0
        self._next_id = 1
        self.highest_inbound_stream_id = 0

    def _is_idle(self, stream_id: int) -> bool:
        if self._is_ours(stream_id):
            return stream_id >= self._next_id
        return stream_id > self.highest_inbound_stream_id

    def _is_ours(self, stream_id: int) -> bool:
        return bool(stream_id & 1) == self._client_side

    def _open(self, stream_id: int) -> StreamState:
        """Enters a new stream, opened by either side, into the table."""
        window = max(DEFAULT_WINDOW, self._limits.stream_window_bytes)
        stream = StreamState(window, self._peer.initial_window)
        self._streams[stream_id] = stream
        return stream

    def _close_if_ended(self, stream_id: int, stream: StreamState) -> None:
        if not stream.remote_open and not stream.local_open:
            del self._streams[stream_id]
            self._late_frames.ended(stream_id)

    def _reset_by_us(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        window = 0 if stream is None else stream.receive_window
        self._late_frames.reset_by_us(stream_id, window)

    def _acknowledge_connection(self, flow_bytes: int) -> None:
        self._acknowledged += flow_bytes
        if self._acknowledged * 2 >= self._limits.connection_window_bytes:
            self._out += encoded(WINDOW_UPDATE, 0, 0, long(self._acknowledged))
            self._receive_window += self._acknowledged
            self._acknowledged = 0

    def go_away(self, code: int, last_stream_id: int, text: str = "") -> None:
        """Queues GOAWAY: the peer must begin no new streams. Those that are open stay open."""
        debug = text.encode("ascii", "replace")[:TEXT_BYTES]
        self._out += encoded(GOAWAY, 0, 0, long(last_stream_id) + long(code) + debug)

    def _failed(self, fault: ConnectionFault) -> ConnectionFailed:
        self._fail(fault.code, str(fault), fault.stream_id)
        return ConnectionFailed(fault.kind, str(fault))

    def _fail(self, code: int, text: str, culprit: int = 0) -> None:
        self._out = Outbox()
        begun = culprit > self.highest_inbound_stream_id and not self._is_ours(culprit)
        if begun or culprit in self._streams:
            # The reset ends this call for its own fault. Otherwise the client would repeat it, as
            # it may repeat the calls that ended only because the connection did.
            self._out += encoded(RST_STREAM, 0, culprit, long(code))
        if begun:
            self.highest_inbound_stream_id = culprit
        self.go_away(code, self.highest_inbound_stream_id, text)
