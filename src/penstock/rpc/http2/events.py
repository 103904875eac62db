"""What a peer did, as the protocol layer reports it to an endpoint (pure).

Named tuples, because one is made for each frame, and the command line defines them all each time it
starts: a frozen dataclass takes ten times as long to define and twice as long to make.
"""

from typing import NamedTuple, TypeAlias

Headers: TypeAlias = list[tuple[bytes, bytes]]


class HeadersArrived(NamedTuple):
    """A request on a server, a response's head on a client."""

    stream_id: int
    headers: Headers
    ended: bool


class OversizedHeaders(NamedTuple):
    """A head or trailers over ``header_bytes``, of which nothing is kept."""

    stream_id: int
    ended: bool


class TrailersArrived(NamedTuple):
    """The header fields behind a stream's last message."""

    stream_id: int
    headers: Headers


class DataArrived(NamedTuple):
    """``flow_bytes`` counts padding too; the endpoint must acknowledge that many."""

    stream_id: int
    data: bytes
    flow_bytes: int


class StreamEnded(NamedTuple):
    """The peer will send no more on this stream."""

    stream_id: int


class StreamReset(NamedTuple):
    """A stream was reset with ``code``, either by the peer or by this side.

    ``by_peer`` is False where the peer broke the rule in ``text`` and this side answered with a
    reset, which may concern a stream that has ended already.
    """

    stream_id: int
    code: int
    by_peer: bool
    text: str = ""


class WindowOpened(NamedTuple):
    """The peer has opened a window, so sending may resume. Stream 0 means every stream."""

    stream_id: int


class PingAnswered(NamedTuple):
    """The peer has answered this side's PING that had the same eight bytes of ``data``."""

    data: bytes


class SettingsArrived(NamedTuple):
    """The peer's settings are in force; the first proves that it speaks HTTP/2."""


class GoingAway(NamedTuple):
    """The peer sent GOAWAY: it will never process streams above ``last_stream_id``."""

    last_stream_id: int
    code: int
    text: str


Event: TypeAlias = (
    HeadersArrived
    | OversizedHeaders
    | TrailersArrived
    | DataArrived
    | StreamEnded
    | StreamReset
    | WindowOpened
    | PingAnswered
    | SettingsArrived
    | GoingAway
)
