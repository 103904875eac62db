"""How a peer broke HTTP/2's rules, and with which error code it is answered (pure)."""

from typing import Final

from ..token_bucket import TokenBucket

# RFC 9113 section 7.
NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB


class ConnectionFault(Exception):
    """RFC 9113 5.4.1: ends the connection with ``code``. ``kind`` is for counters.

    ``stream_id``: the stream whose header block caused it. That stream is reset first, so that the
    client learns which call was at fault.
    """

    stream_id = 0

    def __init__(self, text: str, code: int = PROTOCOL_ERROR, kind: str = "protocol") -> None:
        super().__init__(text)
        self.code = code
        self.kind = kind


class StreamFault(Exception):
    """RFC 9113 5.4.2: ends one stream with ``code``."""

    def __init__(self, stream_id: int, text: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(text)
        self.stream_id = stream_id
        self.code = code


class Flood(ConnectionFault):
    """The peer has used up a budget, which ``kind`` names, so its connection ends."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"too many: {kind}", ENHANCE_YOUR_CALM, kind)


class FloodBudget(TokenBucket):
    """How often a peer may do one kind of thing that costs it next to nothing."""

    def take(self, tokens: int = 1) -> None:
        """Takes ``tokens`` from the budget. Raises Flood when too few are left."""
        if not self.try_take(tokens):
            raise Flood(self.kind)
