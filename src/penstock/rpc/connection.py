"""One HTTP/2 connection without I/O: bytes in, events out; commands in, bytes out (pure).

The small interface behind which the protocol engine can be exchanged. Everything of
h2 and purerpc that has no types ends here.
"""

from typing import Any, Final

import h2.config
import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from h2.stream import StreamState
from hyperframe.exceptions import InvalidPaddingError
from hyperframe.frame import GoAwayFrame
from purerpc.grpclib.config import GRPCConfiguration
from purerpc.grpclib.connection import GRPCConnection

from . import events as ev
from .engine import Engine
from .frames import Flood, FrameReader
from .limits import Limits

NO_ERROR: Final = int(ErrorCodes.NO_ERROR)
PROTOCOL_ERROR: Final = int(ErrorCodes.PROTOCOL_ERROR)
INTERNAL_ERROR: Final = int(ErrorCodes.INTERNAL_ERROR)
REFUSED_STREAM: Final = int(ErrorCodes.REFUSED_STREAM)
CANCEL: Final = int(ErrorCodes.CANCEL)
ENHANCE_YOUR_CALM: Final = int(ErrorCodes.ENHANCE_YOUR_CALM)
HIGHEST_STREAM_ID: Final = 2**31 - 1

_DEFAULT_WINDOW: Final = 65_535
_SENDABLE: Final = (StreamState.OPEN, StreamState.HALF_CLOSED_REMOTE)


class ConnectionFailed(Exception):
    """The peer broke the protocol; its GOAWAY is ready to be written. ``kind`` is for counters."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Connection(GRPCConnection):  # type: ignore[misc]  # purerpc is untyped
    """purerpc's connection with settings, resets, GOAWAY and limits of its own."""

    def __init__(self, limits: Limits, *, client_side: bool) -> None:
        super().__init__(
            GRPCConfiguration(client_side=client_side, max_message_length=limits.message_bytes)
        )
        self._limits = limits
        self._client_side = client_side
        # Header fields are judged in metadata.py: h2 answers a malformed request, which is a
        # stream error by RFC 9113 8.1.1, by ending the connection.
        config = h2.config.H2Configuration(
            client_side=client_side,
            header_encoding=None,
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_inbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._reader = FrameReader(limits, expect_preface=not client_side)
        engine = Engine(config, self._reader)
        values = {
            SettingCodes.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
            SettingCodes.MAX_FRAME_SIZE: limits.frame_bytes,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.header_bytes,
        }
        if client_side:
            values[SettingCodes.ENABLE_PUSH] = 0
        else:
            values[SettingCodes.MAX_CONCURRENT_STREAMS] = limits.streams
        engine.local_settings = Settings(client=client_side, initial_values=values)
        engine.max_inbound_frame_size = limits.frame_bytes
        engine.decoder.max_header_list_size = limits.header_bytes
        self.h2_connection = engine

    def start(self) -> None:
        """Queues preface, SETTINGS and the connection's window."""
        self.h2_connection.initiate_connection()
        increment = self._limits.connection_window_bytes - _DEFAULT_WINDOW
        if increment > 0:
            self.h2_connection.increment_flow_control_window(increment)

    def receive(self, data: bytes) -> list[ev.Event]:
        """Raises ConnectionFailed for anything that ends the connection; no other exception."""
        try:
            happened: list[ev.Event] = []
            for event in self.h2_connection.receive_data(data):
                self._translate(event, happened)
        except (ProtocolError, InvalidPaddingError) as error:
            code = int(getattr(error, "error_code", ErrorCodes.PROTOCOL_ERROR))
            kind = getattr(error, "kind", "protocol")
            self._fail(code, str(error))
            raise ConnectionFailed(kind, str(error)) from error
        except Exception as error:  # a bug of the engine ends this connection alone
            self._fail(INTERNAL_ERROR, "")
            raise ConnectionFailed("engine", repr(error)) from error
        return happened

    def _fail(self, code: int, text: str) -> None:
        self.h2_connection.clear_outbound_data_buffer()
        self.go_away(code, self.h2_connection.highest_inbound_stream_id, text)

    def _translate(self, event: Any, out: list[ev.Event]) -> None:
        match event:
            case h2.events.DataReceived():
                out.append(
                    ev.DataArrived(event.stream_id, event.data, event.flow_controlled_length)
                )
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                ended = event.stream_ended is not None
                out.append(ev.HeadersArrived(event.stream_id, event.headers, ended))
            case h2.events.TrailersReceived():
                out.append(ev.TrailersArrived(event.stream_id, event.headers))
            case h2.events.StreamEnded():
                out.append(ev.StreamEnded(event.stream_id))
            case h2.events.StreamReset():
                by_peer = event.remote_reset
                if not by_peer:
                    self._reader.resets.take()
                    self.h2_connection.discard(event.stream_id)
                out.append(ev.StreamReset(event.stream_id, int(event.error_code), by_peer))
            case h2.events.WindowUpdated():
                out.append(ev.WindowOpened(event.stream_id))
            case h2.events.RemoteSettingsChanged():
                out.append(ev.SettingsArrived())
                out.append(ev.WindowOpened(0))
            case h2.events.PingAckReceived():
                out.append(ev.PingAnswered(bytes(event.ping_data)))
            case h2.events.ConnectionTerminated():
                text = (event.additional_data or b"").decode("ascii", "replace")[:200]
                out.append(ev.GoingAway(event.last_stream_id, int(event.error_code), text))

    # What waits to be written.

    @property
    def pending_bytes(self) -> int:
        return len(self.h2_connection._data_to_send)

    def take(self) -> bytearray:
        """All that waits, handed over without a copy."""
        engine = self.h2_connection
        data: bytearray = engine._data_to_send
        engine._data_to_send = bytearray()
        return data

    # Commands. Those for a stream that has ended do nothing.

    def next_stream_id(self) -> int:
        """Raises ConnectionFailed when a connection has used up its 2**30 streams."""
        try:
            return int(self.h2_connection.get_next_available_stream_id())
        except ProtocolError as error:
            raise ConnectionFailed("streams", str(error)) from error

    @property
    def highest_inbound_stream_id(self) -> int:
        return int(self.h2_connection.highest_inbound_stream_id)

    @property
    def max_outbound_streams(self) -> int:
        """As many calls as the peer lets us have open."""
        return int(self.h2_connection.remote_settings.max_concurrent_streams)

    def open_stream(self, stream_id: int, headers: ev.Headers) -> None:
        """Client: begins the stream that ``next_stream_id`` has named."""
        self.h2_connection.send_headers(stream_id, headers)

    def send_headers(self, stream_id: int, headers: ev.Headers, *, end_stream: bool) -> None:
        """Server: a response's head, or its trailers. Never waits for a window."""
        if self._sendable(stream_id):
            self.h2_connection.send_headers(stream_id, headers, end_stream=end_stream)

    def send_window(self, stream_id: int) -> int:
        """How many bytes one DATA frame may carry now; 0: wait. -1: the stream has ended."""
        if not self._sendable(stream_id):
            return -1
        engine = self.h2_connection
        window = min(
            engine.outbound_flow_control_window,
            engine.streams[stream_id].outbound_flow_control_window,
            engine.max_outbound_frame_size,
            self._limits.outbound_frame_bytes,
        )
        return max(0, int(window))

    def send_data(self, stream_id: int, *parts: bytes | memoryview) -> None:
        """One DATA frame; the caller has asked ``send_window``.

        Built by hand: h2 copies the payload three times and walks its state machines. The
        stream's state does not change, the two windows do.
        """
        engine = self.h2_connection
        size = sum(len(part) for part in parts)
        out = engine._data_to_send
        out += size.to_bytes(3, "big")
        out += b"\0\0"
        out += stream_id.to_bytes(4, "big")
        for part in parts:
            out += part
        engine.outbound_flow_control_window -= size
        engine.streams[stream_id].outbound_flow_control_window -= size
        self._reader.window_updates.give(self._limits.window_updates_per_data)

    def end_stream(self, stream_id: int) -> None:
        if self._sendable(stream_id):
            self.h2_connection.end_stream(stream_id)

    def _sendable(self, stream_id: int) -> bool:
        stream = self.h2_connection.streams.get(stream_id)
        return stream is not None and stream.state_machine.state in _SENDABLE

    def reset(self, stream_id: int, code: int) -> None:
        stream = self.h2_connection.streams.get(stream_id)
        if stream is None or stream.closed:
            return
        self.h2_connection.reset_stream(stream_id, ErrorCodes(code))
        self.h2_connection.discard(stream_id)

    def refuse(self, stream_id: int, code: int) -> None:
        """A reset that the peer has provoked. Raises ConnectionFailed if it does so too often."""
        try:
            self._reader.resets.take()
        except Flood as error:
            self._fail(ENHANCE_YOUR_CALM, str(error))
            raise ConnectionFailed(error.kind, str(error)) from error
        self.reset(stream_id, code)

    def acknowledge(self, stream_id: int, flow_bytes: int) -> None:
        """Hands ``flow_bytes`` of window back to the peer."""
        if flow_bytes:
            self.h2_connection.acknowledge_received_data(flow_bytes, stream_id)

    def ping(self, data: bytes) -> None:
        """``data`` is eight bytes; they come back in PingAnswered."""
        self.h2_connection.ping(data)

    def go_away(self, code: int, last_stream_id: int, text: str = "") -> None:
        """By hand, since h2 is closed after its own: a drain must go on serving."""
        frame = GoAwayFrame(0)
        frame.last_stream_id = last_stream_id
        frame.error_code = code
        frame.additional_data = text.encode("ascii", "replace")[:200]
        self.h2_connection._data_to_send += frame.serialize()
