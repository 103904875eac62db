"""SETTINGS (RFC 9113 6.5): what the peer may set, and which of it is kept (pure)."""

import struct
from typing import Final

from .protocol_errors import FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, ConnectionFault

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

DEFAULT_WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
_DEFAULT_FRAME: Final = 16_384
_LARGEST_FRAME: Final = 2**24 - 1
_UNLIMITED: Final = 2**32 - 1
_ENTRY: Final = struct.Struct(">HL")


class PeerSettings:
    """The peer's settings that matter to a sender.

    Its table size does not, because this side's encoder uses no table. Unknown settings are
    ignored, as RFC 9113 6.5.2 requires.
    """

    def __init__(self) -> None:
        self.max_streams = _UNLIMITED
        self.initial_window = DEFAULT_WINDOW
        self.max_frame_bytes = _DEFAULT_FRAME

    def apply(self, body: bytes, *, from_server: bool) -> None:
        """Applies one SETTINGS frame's body in its order. Raises ConnectionFault.

        A later value of the same setting replaces an earlier one.
        """
        if len(body) % _ENTRY.size:
            raise ConnectionFault("SETTINGS are cut within an entry", FRAME_SIZE_ERROR)
        for identifier, value in _ENTRY.iter_unpack(body):
            if identifier == ENABLE_PUSH:
                if value > (0 if from_server else 1):
                    raise ConnectionFault(f"ENABLE_PUSH of {value}")
            elif identifier == MAX_CONCURRENT_STREAMS:
                self.max_streams = value
            elif identifier == INITIAL_WINDOW_SIZE:
                if value > LARGEST_WINDOW:
                    raise ConnectionFault(f"INITIAL_WINDOW_SIZE of {value}", FLOW_CONTROL_ERROR)
                self.initial_window = value
            elif identifier == MAX_FRAME_SIZE:
                if not _DEFAULT_FRAME <= value <= _LARGEST_FRAME:
                    raise ConnectionFault(f"MAX_FRAME_SIZE of {value}")
                self.max_frame_bytes = value


def encode(values: dict[int, int]) -> bytes:
    """The body of a SETTINGS frame with these values."""
    return b"".join(_ENTRY.pack(identifier, value) for identifier, value in values.items())
