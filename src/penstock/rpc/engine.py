"""h2's connection where RFC 9113 or a long-lived server needs it to behave otherwise (pure).

The version that purerpc pins is from 2020. What is changed, and why, stands at each
override; docs/rpc.md lists them.
"""

from collections import OrderedDict
from typing import Any, Final

import h2.connection
import h2.events
from h2.connection import _decode_headers
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, HeadersFrame, WindowUpdateFrame

from .frames import FrameReader

_REMEMBERED_STREAMS: Final = 4096
_ENCODER_TABLE_BYTES: Final = 4096


class Engine(h2.connection.H2Connection):  # type: ignore[misc]  # h2 is untyped
    MAX_CLOSED_STREAMS = 1024  # 65,536 cost 8 MB in every connection

    def __init__(self, config: Any, reader: FrameReader) -> None:
        super().__init__(config)
        self.incoming_buffer = reader
        self._discarded: OrderedDict[int, None] = OrderedDict()

    def discard(self, stream_id: int) -> None:
        """Frames that were under way when we reset this stream are dropped without an answer.

        h2 answers each with another reset, which a peer that counts resets takes for an attack.
        """
        self._discarded[stream_id] = None
        if len(self._discarded) > _REMEMBERED_STREAMS:
            self._discarded.popitem(last=False)

    @property
    def open_inbound_streams(self) -> int:
        """Always 0: h2 ends the connection for one stream too many, where the stream is to be
        refused. The getter of the base class also forgets closed streams, so it is called."""
        h2.connection.H2Connection.open_inbound_streams.fget(self)
        return 0

    def _receive_frame(self, frame: Any) -> list[Any]:
        stream_id = frame.stream_id
        if stream_id in self._discarded:
            return self._drop(frame)
        if (
            isinstance(frame, WindowUpdateFrame)
            and stream_id
            and stream_id not in self.streams
            and stream_id <= max(self.highest_inbound_stream_id, self.highest_outbound_stream_id)
        ):
            # RFC 9113 5.1: may arrive for a short while after the end; h2 ends the connection.
            return []
        events: list[Any] = super()._receive_frame(frame)
        return events

    def _drop(self, frame: Any) -> list[Any]:
        if isinstance(frame, HeadersFrame):
            _decode_headers(self.decoder, frame.data)  # both ends' tables must stay the same
        elif isinstance(frame, DataFrame):
            size = frame.flow_controlled_length
            manager = self._inbound_flow_control_window_manager
            manager.window_consumed(size)
            increment = manager.process_bytes(size)
            if increment:
                update = WindowUpdateFrame(0)
                update.window_increment = increment
                self._prepare_for_sending([update])
        return []

    def _receive_settings_frame(self, frame: Any) -> Any:
        # h2 would keep each of 65,536 unknown settings for ever, and let the peer choose how
        # much memory our encoder's table takes. RFC 7541 4.2 lets an encoder use less.
        known = {code: value for code, value in frame.settings.items() if code in _KNOWN}
        table = known.get(SettingCodes.HEADER_TABLE_SIZE)
        if table is not None:
            known[SettingCodes.HEADER_TABLE_SIZE] = min(table, _ENCODER_TABLE_BYTES)
        frame.settings = known
        return super()._receive_settings_frame(frame)

    def _receive_goaway_frame(self, frame: Any) -> Any:
        # h2 takes GOAWAY for the end. RFC 9113 6.8: streams up to the last one go on.
        event = h2.events.ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data
        return [], [event]


_KNOWN: Final = frozenset(int(code) for code in SettingCodes)
