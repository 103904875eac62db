"""What the protocol knows of one HTTP/2 stream, and which ones it remembers (pure).

::

    idle ──HEADERS──▶ open ──END_STREAM of one side──▶ half-closed ──of the other──▶ closed
                        └─────────────── RST_STREAM of either side ────────────────────▶┘

Streams that are not closed are in the connection's table. Of the last few thousand closed ones
only the way they ended is remembered, because RFC 9113 5.1 lets the answer to a late frame depend
on it.
"""

from collections import OrderedDict
from enum import Enum, auto
from typing import Final

from .frames import END_STREAM, Frame
from .protocol_errors import (
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    STREAM_CLOSED,
    StreamFault,
)

_REMEMBERED: Final = 4096


class Closed(Enum):
    """How a stream came to be closed, which decides how a late frame on it is answered."""

    ENDED = auto()
    """Both sides have sent END_STREAM."""
    RESET_BY_PEER = auto()
    RESET_BY_US = auto()


class StreamState:
    """A stream that is open or half-closed. Windows are in bytes."""

    __slots__ = (
        "acknowledged",
        "content_left",
        "empty_data",
        "head_seen",
        "interim_responses",
        "local_open",
        "receive_window",
        "remote_open",
        "send_window",
        "window_updates",
    )

    def __init__(self, receive_window: int, send_window: int) -> None:
        self.local_open = True
        self.remote_open = True
        self.head_seen = False
        self.receive_window = receive_window
        self.send_window = send_window
        self.acknowledged = 0
        """Bytes that the application has handed back and no WINDOW_UPDATE has reported yet."""
        self.content_left: int | None = None
        """Bytes that the peer's content-length announced and that have not arrived yet."""
        # This stream's part of the connection's budgets, so that one stream can be blamed.
        self.empty_data = 0
        self.interim_responses = 0
        self.window_updates = 0

    def data_fault(self, frame: Frame, most_bytes: int) -> StreamFault | None:
        """The rule that a DATA frame on this stream breaks; None if it breaks none."""
        stream_id = frame.stream_id
        if not self.remote_open:
            return StreamFault(stream_id, "DATA after END_STREAM", STREAM_CLOSED)
        if not self.head_seen:
            return StreamFault(stream_id, "DATA before a response")
        if frame.flow_bytes > most_bytes:
            text = too_large(frame.flow_bytes, most_bytes)
            return StreamFault(stream_id, text, FRAME_SIZE_ERROR)
        if frame.flow_bytes > self.receive_window:
            return StreamFault(stream_id, "more DATA than the window", FLOW_CONTROL_ERROR)
        left = self.content_left
        if left is not None:
            left -= len(frame.body)
            if left < 0 or (left and frame.flags & END_STREAM):
                return StreamFault(stream_id, "DATA is not of content-length")
        return None


def too_large(size: int, most_bytes: int) -> str:
    """The text of a fault: how many bytes came, and how many are allowed."""
    return f"a frame of {size} bytes; {most_bytes} allowed"


class ClosedStreams:
    """How the last few thousand closed streams ended; older ones are forgotten."""

    def __init__(self) -> None:
        self._how: OrderedDict[int, Closed] = OrderedDict()
        self._blocks: dict[int, int] = {}

    def add(self, stream_id: int, how: Closed) -> None:
        """Remembers how a stream was closed; forgets the oldest beyond a bound."""
        self._how[stream_id] = how
        if len(self._how) > _REMEMBERED:
            oldest, _ = self._how.popitem(last=False)
            self._blocks.pop(oldest, None)

    def get(self, stream_id: int) -> Closed | None:
        """How it was closed; None if it was never open, or is forgotten by now."""
        return self._how.get(stream_id)

    def late_blocks(self, stream_id: int) -> int:
        """Counts one more header block on a closed stream, and returns the count."""
        count = self._blocks.get(stream_id, 0) + 1
        self._blocks[stream_id] = count
        return count
