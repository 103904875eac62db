"""A peer's frames by the rules of RFC 9113, each at the frame it is about (pure).

This is the half of a connection that receives; connection.py adds the half that sends, and what
both share is in connection_state.py. Every frame is handled whole or ends its stream or the
connection, and nothing here waits. There is one function for each kind of frame, all in one file,
because a reader of this code looks a frame up by its kind; so the file is a little longer than
others. Frames for closed streams are judged in late_frames.py.
"""

from collections.abc import Callable
from math import inf
from typing import Final

from ..limits import Limits
from . import events as ev
from .connection_state import HIGHEST_STREAM_ID, TEXT_BYTES, ConnectionFailed, ConnectionState
from .frames import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frame,
    FrameReader,
    encoded,
    is_empty,
    long,
)
from .header_blocks import HeaderDecoder, content_length, is_interim
from .protocol_errors import (
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    INTERNAL_ERROR,
    STREAM_CLOSED,
    ConnectionFault,
    Flood,
    FloodBudget,
    StreamFault,
)
from .settings import LARGEST_WINDOW
from .stream_state import StreamState, too_large

_BLOCK_BYTES_A_FRAME: Final = 512
# So much of an oversized block takes some 2 ms, as long as a reset with the call that it ends.
_WORK_OF_A_RESET_BYTES: Final = 8192
# Budgets that a single stream may have used up, and where that stream's part is counted.
_OF_STREAMS: Final = {
    "empty DATA": "empty_data",
    "WINDOW_UPDATE": "window_updates",
    "interim responses": "interim_responses",
}


class Receiver(ConnectionState):
    """A connection's state, and how a peer's bytes change it. Never waits."""

    def __init__(self, limits: Limits, *, client_side: bool) -> None:
        super().__init__(limits, client_side=client_side)
        self._reader = FrameReader(limits, expect_preface=not client_side)
        self._decoder = HeaderDecoder(limits.header_bytes)
        self._interim = FloodBudget("interim responses", limits.interim_responses)
        self.more = False
        """Frames may wait that ``receive(b"")`` handles."""
        self._waiting: Frame | None = None
        self._handlers: dict[int, Callable[[Frame, list[ev.Event]], None]] = {
            DATA: self._data,
            HEADERS: self._headers,
            RST_STREAM: self._rst_stream,
            SETTINGS: self._settings,
            PUSH_PROMISE: self._push_promise,
            PING: self._ping,
            GOAWAY: self._goaway,
            WINDOW_UPDATE: self._window_update,
        }

    def receive(self, data: bytes, most: int | None = None) -> list[ev.Event]:
        """The events of at most ``most`` frames of ``data``; ``more`` says whether frames are left.

        A header block counts as a frame for each half KiB, because decoding that takes as long. The
        rest of a long one waits for a call without ``data``, or for several.
        Raises ConnectionFailed for anything that ends the connection; no other exception.
        """
        out: list[ev.Event] = []
        self.more = False
        try:
            if data:
                self._reader.add_data(data)
            left = inf if most is None else most
            while left > 0:
                left -= 1
                try:
                    frame, self._waiting = self._waiting or next(self._reader, None), None
                    if frame is None:
                        return out
                    if frame.kind == HEADERS:
                        left -= len(frame.body) // _BLOCK_BYTES_A_FRAME
                        if left < 0 and data:
                            self._waiting = frame
                            break
                    handler = self._handlers.get(frame.kind)
                    if handler is not None:
                        handler(frame, out)
                    if self._waiting is not None and most is not None:
                        break  # a header block that takes several turns
                except StreamFault as fault:
                    self._stream_fault(fault, out)
            self.more = True
            return out
        except ConnectionFault as fault:
            raise self._failed(fault) from fault
        except Exception as error:  # so that a bug ends this connection alone
            self._fail(INTERNAL_ERROR, "")
            raise ConnectionFailed("engine", repr(error)) from error

    def _spend(self, budget: FloodBudget, out: list[ev.Event]) -> None:
        """Takes one from a budget that all streams share.

        When it is used up, a stream that took half of it or more is reset, because that stream is
        the cause, and the budget gets its part back. Otherwise raises Flood.
        """
        try:
            budget.take()
        except Flood as flood:
            counter = _OF_STREAMS[budget.kind]
            used = {n: getattr(each, counter) for n, each in self._streams.items()}
            culprit = max(used, key=used.__getitem__, default=0)
            if not culprit or 2 * used[culprit] < budget.burst:
                raise
            budget.give(used[culprit])
            self._stream_fault(StreamFault(culprit, str(flood), ENHANCE_YOUR_CALM), out)
            budget.take()

    def _stream_fault(self, fault: StreamFault, out: list[ev.Event]) -> None:
        stream_id = fault.stream_id
        if self._is_idle(stream_id):
            # RFC 9113 6.4: an idle stream cannot be reset.
            raise ConnectionFault(str(fault), fault.code) from fault
        self._reader.resets.take()
        self._out += encoded(RST_STREAM, 0, stream_id, long(fault.code))
        out.append(ev.StreamReset(stream_id, fault.code, by_peer=False, text=str(fault)))
        self._reset_by_us(stream_id)

    def _data(self, frame: Frame, out: list[ev.Event]) -> None:
        stream_id, size = frame.stream_id, frame.flow_bytes
        if size > self._receive_window:
            raise ConnectionFault("more DATA than the connection's window", FLOW_CONTROL_ERROR)
        self._receive_window -= size
        stream = self._streams.get(stream_id)
        if stream is None:
            if size > self._limits.frame_bytes and self._is_idle(stream_id):
                raise ConnectionFault(too_large(size, self._limits.frame_bytes), FRAME_SIZE_ERROR)
            self._acknowledge_connection(size)
            self._late_frames.judge(frame)
            return
        if is_empty(frame.flags, size):
            stream.empty_data += 1
            self._spend(self._reader.empty_data, out)
            if stream_id not in self._streams:
                self._acknowledge_connection(size)
                return
        fault = stream.data_fault(frame, self._limits.frame_bytes)
        if fault is not None:
            self._acknowledge_connection(size)
            raise fault
        stream.receive_window -= size
        if stream.content_left is not None:
            stream.content_left -= len(frame.body)
        out.append(ev.DataArrived(stream_id, frame.body, size))
        if frame.flags & END_STREAM:
            self._remote_end(stream_id, stream, out)

    def _headers(self, frame: Frame, out: list[ev.Event]) -> None:
        stream_id = frame.stream_id
        try:
            # Decoded in any case, because the tables of both ends must stay equal.
            fields = self._decoder.decode_some(frame.body)
        except ConnectionFault as fault:
            fault.stream_id = stream_id
            raise
        if self._decoder.unfinished:
            self._waiting = frame
            return
        ended = bool(frame.flags & END_STREAM)
        stream = self._streams.get(stream_id)
        if stream is None:
            if not self._is_idle(stream_id):
                self._late_frames.judge(frame)
                return
            if self._client_side or self._is_ours(stream_id):
                raise ConnectionFault(f"stream {stream_id} is not the peer's to open")
            self.highest_inbound_stream_id = stream_id
            stream = self._open(stream_id)
        elif not stream.remote_open:
            raise StreamFault(stream_id, "HEADERS after END_STREAM", STREAM_CLOSED)
        if fields is None:
            # Reading the block was work, so it is charged whatever the answer is.
            self._reader.resets.take(1 + len(frame.body) // _WORK_OF_A_RESET_BYTES)
            stream.head_seen = True
            out.append(ev.OversizedHeaders(stream_id, ended))
            if ended:
                self._remote_end(stream_id, stream, out)
            return
        if stream.head_seen:
            if not ended:
                raise StreamFault(stream_id, "trailers without END_STREAM")
            if stream.content_left:
                raise StreamFault(stream_id, "DATA is not of content-length")
            out.append(ev.TrailersArrived(stream_id, fields))
            self._remote_end(stream_id, stream, out)
            return
        if self._client_side and is_interim(fields):
            if ended:
                raise StreamFault(stream_id, "an interim response that ends the stream")
            stream.interim_responses += 1
            self._spend(self._interim, out)
            return
        stream.head_seen = True
        stream.content_left = content_length(fields, stream_id)
        if ended and stream.content_left and not self._client_side:
            raise StreamFault(stream_id, "DATA is not of content-length")
        out.append(ev.HeadersArrived(stream_id, fields, ended))
        if ended:
            self._remote_end(stream_id, stream, out)

    def _remote_end(self, stream_id: int, stream: StreamState, out: list[ev.Event]) -> None:
        stream.remote_open = False
        out.append(ev.StreamEnded(stream_id))
        self._close_if_ended(stream_id, stream)

    def _rst_stream(self, frame: Frame, out: list[ev.Event]) -> None:
        stream_id = frame.stream_id
        if self._is_idle(stream_id):
            raise ConnectionFault("RST_STREAM on an idle stream")
        if self._streams.pop(stream_id, None) is None:
            if self._late_frames.was_reset_by_us(stream_id):
                # It has crossed this side's answer, which grpc's clients cause when the answer
                # comes before their own end. So it is not charged to the peer.
                self._reader.resets.give(1)
                self._late_frames.reset_by_peer(stream_id)
            return
        self._late_frames.reset_by_peer(stream_id)
        code = int.from_bytes(frame.body, "big")
        out.append(ev.StreamReset(stream_id, code, by_peer=True))

    def _settings(self, frame: Frame, out: list[ev.Event]) -> None:
        if frame.flags & ACK:
            if frame.body:
                raise ConnectionFault("an acknowledgement with settings", FRAME_SIZE_ERROR)
            return
        before = self._peer.initial_window
        self._peer.apply(frame.body, from_server=self._client_side)
        delta = self._peer.initial_window - before
        if delta:
            for stream in self._streams.values():
                stream.send_window += delta  # RFC 9113 6.9.2: it may become negative
                if stream.send_window > LARGEST_WINDOW:
                    raise ConnectionFault("a window over 2^31-1", FLOW_CONTROL_ERROR)
        self._out += encoded(SETTINGS, ACK, 0)
        out.append(ev.SettingsArrived())
        out.append(ev.WindowOpened(0))

    def _push_promise(self, frame: Frame, out: list[ev.Event]) -> None:  # noqa: ARG002  of a table
        # RFC 9113 8.4: a client must not push, and this client's SETTINGS forbid it to a server.
        raise ConnectionFault("PUSH_PROMISE is not allowed")

    def _ping(self, frame: Frame, out: list[ev.Event]) -> None:
        if frame.flags & ACK:
            out.append(ev.PingAnswered(frame.body))
        else:
            self._out += encoded(PING, ACK, 0, frame.body)

    def _goaway(self, frame: Frame, out: list[ev.Event]) -> None:
        if len(frame.body) < 8:
            raise ConnectionFault("GOAWAY is too short", FRAME_SIZE_ERROR)
        last = int.from_bytes(frame.body[:4], "big") & HIGHEST_STREAM_ID
        code = int.from_bytes(frame.body[4:8], "big")
        text = frame.body[8 : 8 + TEXT_BYTES].decode("ascii", "replace")
        out.append(ev.GoingAway(last, code, text))

    def _window_update(self, frame: Frame, out: list[ev.Event]) -> None:
        stream_id = frame.stream_id
        increment = int.from_bytes(frame.body, "big") & LARGEST_WINDOW
        if stream_id == 0:
            self._spend(self._reader.window_updates, out)
            if not increment:
                raise ConnectionFault("WINDOW_UPDATE of 0")
            if self._send_window + increment > LARGEST_WINDOW:
                raise ConnectionFault("a window over 2^31-1", FLOW_CONTROL_ERROR)
            self._send_window += increment
        else:
            stream = self._streams.get(stream_id)
            if stream is None:
                if self._is_idle(stream_id):
                    raise ConnectionFault("WINDOW_UPDATE on an idle stream")
                self._late_frames.take()
                return  # RFC 9113 5.1: may arrive for a while after the end
            stream.window_updates += 1
            self._spend(self._reader.window_updates, out)
            if stream_id not in self._streams:
                return
            if not increment:
                raise StreamFault(stream_id, "WINDOW_UPDATE of 0")
            if stream.send_window + increment > LARGEST_WINDOW:
                raise StreamFault(stream_id, "a window over 2^31-1", FLOW_CONTROL_ERROR)
            stream.send_window += increment
        out.append(ev.WindowOpened(stream_id))
