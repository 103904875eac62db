"""Every bound of the transport in one record (pure).

A limit that is missing here does not exist. Each number names its precedent: where two
implementations of HTTP/2 or gRPC that face the internet agree, their figure is taken.
"""

from typing import Final, NamedTuple

KIB: Final = 1024
MIB: Final = 1024 * 1024


class Rate(NamedTuple):
    """A token bucket: ``burst`` at once, refilled with ``per_s`` tokens a second."""

    burst: int
    per_s: float


class MessageLimits(NamedTuple):
    """Bounds of one request message of a method, checked before it is parsed.

    A message may keep its bound of bytes and still have millions of empty fields, each of which
    becomes an object. So fields are counted in the wire form, those of nested messages included.
    """

    message_bytes: int
    """Judged by the length in front of the message, before any of it is kept."""

    fields: int
    """Of those that no entry of ``elements`` names, unknown ones included. The elements of a packed
    field count by their bytes.
    """

    elements: tuple[tuple[tuple[str, ...], int], ...] = ()
    """Paths of texts, bytes and messages, and how many of them there may be together, such as
    ``(("argv", "arguments.name"), 100)``.
    """

    one_a_turn: bool = False
    """Set for messages that take milliseconds to parse and decide. That is done in slices, one of
    them in a turn of the scheduler over all connections, and clients take turns (turns.py). So a
    hundred such messages at once delay neither small calls nor another client's one message.
    """


class Limits(NamedTuple):
    """How much one peer may make this process hold, do or wait for. Bytes, seconds, counts.

    Sizes are for each connection unless they say otherwise. A client's channel uses the same
    record, because a server can flood a client too.
    """

    connections: int = 1024
    """Open at once; the next one is closed on accept.

    Go's and nginx's defaults are of this order.
    """

    connections_per_client: int = 128
    """Open at once with the same identity; one more gets the reason and is closed.

    No two implementations agree; with this one client takes an eighth of ``connections``.
    """

    handshakes: int = 1024
    """Connections whose TLS handshake is not done; one more ends another (pending_handshakes.py),
    so that half-open ones cannot lock others out. Those that have sent nothing cost a
    descriptor each and no task; all together at most a quarter of RLIMIT_NOFILE.

    No implementation has one: they count such connections among the others.
    """

    handshakes_begun: int = 256
    """Those of them that have sent something, each with its TLS state (some 50 KiB)."""

    handshake_s: float = 10.0
    """From accept to the end of the handshake. (grpc-go 120, Envoy 15, Go's net/http 10)"""

    handshake_grace_s: float = 0.3
    """A peer that has been silent, or has not answered the server, for so long gives way first.

    A round trip around the world. With ``handshakes`` and this, a flood of 3,400 silent connects a
    second takes no honest client's place; under a faster one, chance decides.
    """

    handshake_bytes: int = 32 * KIB
    """Bytes that a peer may send in a handshake; long chains and post-quantum keys need 16 KiB.

    OpenSSL's own bound is about 100 KiB for the certificates alone.
    """

    preface_s: float = 10.0
    """From the handshake to the peer's first SETTINGS. (nginx client_header_timeout 60, Go 10)"""

    idle_s: float = 300.0
    """A connection without calls.

    Envoy's idle_timeout is an hour, nginx's keepalive_timeout 75 s.
    """

    write_stall_s: float = 300.0
    """The peer took no byte for so long although some were waiting: the connection ends.

    Envoy's stream_idle_timeout.
    """

    stream_stall_s: float = 300.0
    """A message waits for the peer's flow-control window this long: the call ends.

    Envoy's stream_idle_timeout.
    """

    request_s: float = 60.0
    """The one request message of a call that has only one must be there.

    nginx client_body_timeout.
    """

    keepalive_s: float = 240.0
    """Nothing was heard for so long while calls run: a PING asks whether the peer is there.

    Envoy, nginx and grpc servers (2 h) leave this to TCP. It is not shorter, because a client that
    shows a job's output in a pager reads nothing for minutes.
    """

    keepalive_timeout_s: float = 60.0
    """Nothing was heard since that PING: the connection ends. (grpc 20 s)"""

    linger_s: float = 1.0
    """How long the peer of a closing connection has to read GOAWAY. (nginx lingering_timeout 5)"""

    lingering: int = 64
    """Refused connections that may do so at once, besides ``connections``; more are closed."""

    streams: int = 100
    """Calls whose handlers have not ended.

    RFC 9113 6.5.2 recommends at least 100; Go 250, Envoy 100.
    """

    streams_per_client: int = 400
    """Calls of one identity over all its connections.

    Four full connections; no implementation has a default.
    """

    stream_window_bytes: int = 1 * MIB
    """A call's inbound window. (grpc-java 1 MiB)"""

    connection_window_bytes: int = 16 * MIB
    """All calls' inbound window. (the design's figure: the product of streams and windows would
    be 100 MiB)
    """

    frame_bytes: int = 16 * KIB
    """Largest frame accepted; larger DATA ends its call. (RFC 9113's initial value)"""

    outbound_frame_bytes: int = 66 * KIB
    """Largest DATA frame sent, if the peer accepts that much, so that calls interleave.

    A message with 64 KiB of output fits into one.
    """

    header_bytes: int = 8 * KIB
    """Header list by RFC 9113's count; a longer one ends its call. (grpc's default soft limit)"""

    header_block_bytes: int = 128 * KIB
    """The same on the wire. A longer block is not decoded, and so must end the connection.

    Otherwise the HPACK tables of both ends would differ from then on. (nghttp2 64 KiB)
    """

    continuations: int = 8
    """CONTINUATION frames of one header block. (nghttp2 8)"""

    message_bytes: int = 4 * KIB
    """Largest message received, of a method for which the server names no other bound.

    A channel takes 4 MiB, the default of every grpc implementation.
    """

    message_fields: int = 256
    """Fields of such a message in the wire form, nested ones included; a channel counts none."""

    unfinished_bytes: int = 16 * MIB
    """All calls' messages that are not complete or not yet read by their handlers."""

    unfinished_bytes_per_client: int = 64 * MIB
    """The same of all connections of one client. A connection may always hold 64 KiB."""

    unfinished_bytes_in_all: int = 512 * MIB
    """The same of all connections of a server: eight clients at their limit."""

    outbound_bytes: int = 256 * KIB
    """Frames waiting to be written; senders wait beyond it. As much again may be on its way into
    TLS.
    """

    metadata_message_bytes: int = 2 * KIB
    """grpc-message is cut there."""

    metadata_details_bytes: int = 4 * KIB
    """Longer grpc-status-details-bin are left out: the peer's header limit would end the call."""

    sends_per_checkpoint: int = 8
    """A handler that sends without blocking has a checkpoint in so many messages, so that other
    tasks run."""

    silent_records: Rate = Rate(100, 1.0)
    """TLS records without data: KeyUpdate, tickets, empty ones.

    A handful in a connection's life; AES-GCM asks for new keys after 2**24 records.
    """

    resets: Rate = Rate(1000, 33.0)
    """RST_STREAM received, and those that the peer made this side send.

    nghttp2's stream reset rate limit.
    """

    late_frames: Rate = Rate(20_000, 1_000.0)
    """DATA, HEADERS and WINDOW_UPDATE on streams that have ended.

    Not counted: one DATA for each 8 bytes of window of a stream that this side has reset, because
    so many messages of three bytes may have been under way. HEADERS and empty DATA count as ten.
    """

    interim_responses: Rate = Rate(100, 10.0)
    """Heads with a status of 1xx; no server of gRPC sends any. Too many of one call end it."""

    pings: Rate = Rate(200, 33.0)
    """PING and its acknowledgements, besides ``pings_per_data``. (nghttp2's glitch rate)"""

    pings_per_data: int = 1
    """PINGs granted with each DATA frame that this side sends.

    Needed because grpc-go, grpc-java and grpcio measure the bandwidth with a PING a round trip
    while DATA comes. On loopback that is thousands a second, but never more than DATA frames.
    """

    settings: Rate = Rate(100, 10.0)
    """SETTINGS and its acknowledgements. (HTTP/2 servers see a handful in a connection's life)"""

    priorities: Rate = Rate(1000, 33.0)
    """PRIORITY; deprecated by RFC 9113 but still sent by browsers. (nghttp2's glitch rate)"""

    empty_data: Rate = Rate(100, 10.0)
    """DATA without content that does not end its stream, or with little beside padding.

    Too many of one call end it. (Envoy allows 1 in a row)
    """

    little_data: Rate = Rate(1000, 100.0)
    """DATA of less than ``little_data_bytes`` that leaves its message unfinished; one more ends
    its call.

    A stock client fills its frames but for the last of a message, and the last of a window: at
    most one in a window of 1 MiB.
    """

    little_data_per_message: int = 2
    """Granted with each whole message: some clients send its five bytes of prefix apart."""

    little_data_bytes: int = 1 * KIB
    """What is little there. (a sixteenth of the largest frame)"""

    unknown_frames: Rate = Rate(100, 10.0)
    """Frames of unknown types, which RFC 9113 5.5 requires to be ignored."""

    window_updates: Rate = Rate(2000, 200.0)
    """WINDOW_UPDATE, besides ``window_updates_per_data``. Too many of one call end it."""

    window_updates_per_data: int = 10
    """WINDOW_UPDATEs granted with each DATA frame that this side sends.

    Envoy's max_inbound_window_update_frames_per_data_frame_sent.
    """


SERVER_DEFAULTS: Final = Limits()

CLIENT_DEFAULTS: Final = Limits(
    frame_bytes=66 * KIB,
    message_bytes=4 * MIB,
    unfinished_bytes=64 * MIB,
    keepalive_s=20.0,
    keepalive_timeout_s=20.0,
)
"""A client's bounds. They are wider, because a client chose its server, and larger frames halve the
cost of a long stream. A server that is gone is detected in 40 s (grpc's keepalive_timeout is 20 s).
"""
