"""What a peer did, as the protocol layer reports it to an endpoint (pure)."""

from dataclasses import dataclass
from typing import TypeAlias

Headers: TypeAlias = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class HeadersArrived:
    """A request on a server, a response's head on a client."""

    stream_id: int
    headers: Headers
    ended: bool


@dataclass(frozen=True, slots=True)
class OversizedHeaders:
    """A head or trailers over ``header_bytes``, of which nothing is kept."""

    stream_id: int
    ended: bool


@dataclass(frozen=True, slots=True)
class TrailersArrived:
    """The header fields behind a stream's last message."""

    stream_id: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class DataArrived:
    """``flow_bytes`` counts padding too; the endpoint must acknowledge that many."""

    stream_id: int
    data: bytes
    flow_bytes: int


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The peer will send no more on this stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class StreamReset:
    """A stream was reset with ``code``, either by the peer or by this side.

    ``by_peer`` is False where the peer broke the rule in ``text`` and this side answered with a
    reset, which may concern a stream that has ended already.
    """

    stream_id: int
    code: int
    by_peer: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class WindowOpened:
    """The peer has opened a window, so sending may resume. Stream 0 means every stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class PingAnswered:
    """The peer has answered this side's PING that had the same eight bytes of ``data``."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SettingsArrived:
    """The peer's settings are in force; the first proves that it speaks HTTP/2."""


@dataclass(frozen=True, slots=True)
class GoingAway:
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
