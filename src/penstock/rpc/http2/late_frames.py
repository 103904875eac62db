"""Frames for streams that are closed: which were under way, and which are a fault (pure).

A peer that has not yet received the reset of a stream still sends for it, and answering each such
frame would cost this side more than it costs the peer. RFC 9113 5.1 lets an endpoint ignore them
"for a short time". How many that can be is known: DATA for as much as the stream's window still
held, and what is left of a head and of trailers. Frames beyond that are taken from a budget, so
that ignoring them is no free way to flood.
"""

from typing import Final

from ..limits import Limits
from .frames import HEADERS, Frame, is_empty
from .protocol_errors import STREAM_CLOSED, ConnectionFault, Flood, FloodBudget, StreamFault
from .stream_state import Closed, ClosedStreams

_LATE_BLOCKS: Final = 3
# A message of three bytes, in a frame of its own.
_LEAST_DATA_BYTES: Final = 8
# What late HEADERS and empty DATA cost of the budget, because no window bounds those.
_OTHERS_THAN_DATA: Final = 10


class LateFrames:
    """How the streams of one connection were closed, and what may still arrive for them."""

    def __init__(self, limits: Limits) -> None:
        self._closed = ClosedStreams()
        self._budget = FloodBudget("frames on streams that were reset", limits.late_frames)
        self._most_data = limits.connection_window_bytes // _LEAST_DATA_BYTES
        self._data = 0
        """DATA frames that windows allowed the peer to send before it received the reset."""

    def ended(self, stream_id: int) -> None:
        """Both sides have sent END_STREAM."""
        self._closed.add(stream_id, Closed.ENDED)

    def reset_by_us(self, stream_id: int, window: int) -> None:
        """``window``: bytes that the peer may have had under way, which therefore are no flood."""
        more = max(0, window) // _LEAST_DATA_BYTES
        self._data = min(self._data + more, self._most_data)
        self._closed.add(stream_id, Closed.RESET_BY_US)

    def reset_by_peer(self, stream_id: int) -> None:
        """The peer has reset the stream, so any further frame on it is a fault."""
        self._closed.add(stream_id, Closed.RESET_BY_PEER)

    def was_reset_by_us(self, stream_id: int) -> bool:
        """Whether this side reset the stream; False also where that is forgotten by now."""
        return self._closed.get(stream_id) is Closed.RESET_BY_US

    def take(self) -> None:
        """Takes one late frame from the budget. Raises Flood when that is used up."""
        self._budget.take()

    def judge(self, frame: Frame) -> None:
        """DATA or HEADERS on a stream that is not open: RFC 9113 5.1, by how it was closed.

        Raises StreamFault or ConnectionFault; returns where the frame is only to be ignored.
        """
        stream_id = frame.stream_id
        match self._closed.get(stream_id):
            case Closed.RESET_BY_US:
                # It was under way, so it is ignored: an answer would count against the peer.
                # But only a window of DATA can be under way, and the rest of head and trailers.
                if frame.kind == HEADERS or is_empty(frame.flags, frame.flow_bytes):
                    self._budget.take(_OTHERS_THAN_DATA)
                elif self._data:
                    self._data -= 1
                else:
                    self._budget.take()
                if frame.kind == HEADERS and self._closed.late_blocks(stream_id) > _LATE_BLOCKS:
                    raise Flood("HEADERS after RST_STREAM")
            case Closed.RESET_BY_PEER:
                raise StreamFault(stream_id, "a frame after RST_STREAM", STREAM_CLOSED)
            case Closed.ENDED:
                # RFC 9113 5.1 leaves the choice. The stream alone fails, because one call is wrong.
                raise StreamFault(stream_id, "a frame after the end", STREAM_CLOSED)
            case None:
                raise ConnectionFault(f"stream {stream_id} is not open")
