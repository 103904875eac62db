"""One connection on a server: its reader, its writer, its calls."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio

from .call_errors import Reason, Refused, RpcError, StatusCode
from .endpoint import Ended, HttpEndpoint
from .http2 import events as ev
from .http2.connection import HIGHEST_STREAM_ID
from .http2.protocol_errors import ENHANCE_YOUR_CALM, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM
from .limits import Limits
from .message_stream import HeldData, MessageStream
from .metadata import (
    ACCEPT_ENCODING,
    RESPONSE_HEADERS,
    HttpRefused,
    Malformed,
    RequestHead,
    check_fields,
    parse_request,
)
from .rejections import Rejections
from .server_call import Admit, Methods, OnInternalError, Peer, ServedMethod, ServerCall, reported
from .status_codec import trailers_of
from .tls.transport_interface import Transport, TransportLost
from .turns import FairTurns

_DRAIN_PING: Final = b"draining"
_DRAIN_PING_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Shared:
    """What all connections of one server have in common."""

    methods: Methods
    limits: Limits
    on_internal_error: OnInternalError
    accepts_calls: Callable[[], bool]
    refusals: Rejections
    held: HeldData
    turns: FairTurns
    """For floods of frames: one slice of one of them in a turn of the scheduler."""
    message_turns: FairTurns
    """For messages that cost much to read, one slice of one of them in a turn."""
    admit: Admit


@dataclass(slots=True, eq=False)
class ClientLoad:
    """What one client has open over all its connections, which take its turns together."""

    held: HeldData
    connections: int = 0
    calls: int = 0


class ServerConnection(HttpEndpoint[MessageStream]):
    """Cancels each call on its own: reset, deadline and shutdown end one, the connection's end
    all. ``refusal``, when the peer could not be identified, is every call's answer."""

    def __init__(
        self,
        transport: Transport,
        shared: Shared,
        peer: Peer,
        identity: object,
        refusal: RpcError | None,
        load: ClientLoad,
    ) -> None:
        super().__init__(
            transport,
            shared.limits,
            shared.turns,
            held=(load.held, shared.held),
            client=load,
            client_side=False,
        )
        self.message_turn = partial(shared.message_turns.of, load)
        self.on_internal_error = shared.on_internal_error
        self.peer = peer
        self.identity = identity
        self.refusal = refusal
        self._shared = shared
        self._load = load
        self._calls: dict[int, ServerCall] = {}
        self._nursery: trio.Nursery | None = None
        self._draining = False
        self._hurry = False
        self._greeted = False
        self._pinged = trio.Event()
        self._refused_kinds: set[str] = set()

    @property
    def running_calls(self) -> int:
        """Handlers that have not ended, cancelled ones included."""
        return len(self._calls)

    async def run(self) -> None:
        """Until the connection ends. Cancelled: minimum cleanup, the peer sees it break.

        Cancellation: minimum cleanup; C2.
        """
        self._read_until(trio.current_time() + self.limits.preface_s)
        try:
            # Scope S2.
            async with trio.open_nursery() as writer:
                writer.start_soon(self.write)
                # Scope S2.calls.
                async with trio.open_nursery() as calls:
                    self._nursery = calls
                    calls.start_soon(self.keep_alive)
                    await self.read()
                    self.cancel_calls(Reason.DISCONNECTED)
                reachable = self.ended is not None and self.ended.reachable
                linger_s = self.limits.linger_s if reachable else 0.0
                # Deadline S2.
                writer.cancel_scope.deadline = trio.current_time() + linger_s
                self.finish()
            if reachable:
                # Scope S2.linger.
                with trio.move_on_after(self.limits.linger_s):
                    await self._transport.linger()
        finally:
            self._transport.close()

    def cancel_calls(self, reason: Reason) -> None:
        """Ends every call with this reason, each at its next checkpoint."""
        for call in list(self._calls.values()):
            if reason is Reason.DISCONNECTED:
                call.stream.closed = True
            call.cancel(reason)

    async def drain(self) -> None:
        """Tells the peer to begin nothing new; the connection ends with its last call.

        RFC 9113 6.8: a first GOAWAY that refuses nothing, a round trip, then the real one,
        so that no call that was under way is refused.

        Cancellation: minimum cleanup; C11, C47.
        """
        self.connection.go_away(NO_ERROR, HIGHEST_STREAM_ID)
        self.connection.ping(_DRAIN_PING)
        self.wake()
        # Scope S2.ping.
        with trio.move_on_after(_DRAIN_PING_S):
            await self._pinged.wait()
        self._begin_nothing_new()
        self._end_if_drained()

    def shut_down(self) -> None:
        """Ends calls with UNAVAILABLE, then the connection, whatever waits to be written."""
        self._begin_nothing_new()
        self._hurry = True
        self.cancel_calls(Reason.SHUTDOWN)
        self._end_if_drained()

    def revoke(self, reason: Reason) -> None:
        """Ends calls with what this reason says, then the connection, as above."""
        self._begin_nothing_new(reason.value)
        self._hurry = True
        self.cancel_calls(reason)
        self._end_if_drained()

    def _begin_nothing_new(self, text: str = "") -> None:
        if not self._draining:
            self._draining = True
            last = self.connection.highest_inbound_stream_id
            self.connection.go_away(NO_ERROR, last, text)
            self.wake()

    def call_ended(self, call: ServerCall) -> None:
        """Forgets a call, and gives back what it held of the bounds."""
        self._load.calls -= 1
        call.stream.release()
        self.streams.pop(call.stream.id, None)
        self._calls.pop(call.stream.id, None)
        self.wake()
        if not self._calls:
            self._read_until(trio.current_time() + self.limits.idle_s)
            self._end_if_drained()

    def _end_if_drained(self) -> None:
        if not self._draining or self._calls:
            return
        # The answer of a call that has ended may still wait for a slow reader.
        if self._hurry or not (self._writing or self.connection.pending_bytes):
            self.end(Ended("drained", "the server is shutting down", reachable=True))

    def _all_written(self) -> None:
        self._end_if_drained()

    def _write_failed(self, error: TransportLost) -> None:
        """Nobody can hear of the calls any more, and what comes now needs no answer."""
        self.end(Ended("lost", str(error), during_tls=error.during_tls))

    def _nobody_is_there(self) -> bool:
        """A client that has closed hears no answer, and its calls end with it: its backlog is
        dropped. What a server sends before it closes is a client's to read."""
        return self._transport.peer_has_closed()

    def _timed_out(self) -> Ended:
        if not self._peer_speaks:
            return Ended("preface_timeout", "no HTTP/2 preface arrived in time")
        last = self.connection.highest_inbound_stream_id
        self.connection.go_away(NO_ERROR, last, "idle")
        return Ended("idle", "no calls for too long", reachable=True)

    def _settings_arrived(self) -> None:
        if not self._greeted:  # later ones are no sign of use
            self._greeted = True
            self._read_until(trio.current_time() + self.limits.idle_s)

    def _headers_arrived(self, event: ev.HeadersArrived) -> None:
        stream_id = event.stream_id
        if self._draining:
            self._refuse("draining", stream_id, REFUSED_STREAM, "the server is shutting down")
            return
        if len(self._calls) >= self.limits.streams:
            self._refuse("streams", stream_id, REFUSED_STREAM, "too many on this connection")
            return
        if self._load.calls >= self.limits.streams_per_client:
            text = f"{self._load.calls} calls of this client are running, as many as it may have"
            self._answer_exhausted("streams_per_client", event, text)
            return
        try:
            head = parse_request(event.headers)
            method = self._admitted(head)
        except Malformed as error:
            self._refuse("malformed", stream_id, PROTOCOL_ERROR, str(error))
        except HttpRefused as error:
            self.refused(f"http_{error.status}", f"HTTP status {error.status}")
            self._answer(event, [(b":status", b"%d" % error.status)])
        except RpcError as error:
            trailers = RESPONSE_HEADERS + trailers_of(error, self.limits)
            if isinstance(error, Refused):
                self.refused(error.kind, error.message)
                if error.kind == "encoding":
                    trailers = [*trailers, ACCEPT_ENCODING]
            self._answer(event, trailers)
        else:
            assert self._nursery is not None
            most = method.messages.limits.message_bytes
            stream = MessageStream(self, stream_id, head.encoding, message_bytes=most)
            call = ServerCall(self, stream, head, method)
            self.streams[stream_id] = stream
            self._calls[stream_id] = call
            self._load.calls += 1
            self._read_until(float("inf"))
            self._nursery.start_soon(call.run)

    def _admitted(self, head: RequestHead) -> ServedMethod:
        """Who asks, for what, and may they: before a byte of a message is kept, and without a task.

        Raises RpcError. A bug in ``admit`` is one, too.
        """
        if not self._shared.accepts_calls():
            raise Refused("not_accepting", StatusCode.UNAVAILABLE, "the server takes no calls now")
        if (refusal := self.refusal) is not None:
            # A new one each time: a traceback grows whenever its exception is raised.
            raise RpcError(refusal.code, refusal.message, refusal.details)
        service = self._shared.methods.get(head.service)
        if service is None:
            text = f"no service {head.service[:200]}"
            raise Refused("unknown_service", StatusCode.UNIMPLEMENTED, text)
        method = service.get(head.method)
        if method is None:
            text = f"no method {head.method[:200]}"
            raise Refused("unknown_method", StatusCode.UNIMPLEMENTED, text)
        if head.encoding != "identity":
            text = f"grpc-encoding {head.encoding[:40]} is not supported; use identity"
            raise Refused("encoding", StatusCode.UNIMPLEMENTED, text)
        try:
            self._shared.admit(self.identity, head.service, head.method)
        except RpcError:
            raise
        except Exception as error:
            raise reported(self.on_internal_error, error) from error
        return method

    def refused(self, kind: str, text: str) -> None:
        """A call that was not served, or not to its end, for a reason that is the client's."""
        refusals = self._shared.refusals
        if kind in self._refused_kinds:
            refusals.counts[kind] += 1  # one line of a kind is enough for a connection
        else:
            self._refused_kinds.add(kind)
            refusals.refused(kind, f"a call from {self.peer.address} refused ({kind}): {text}")

    def _refuse(self, kind: str, stream_id: int, code: int, text: str) -> None:
        self.refused(kind, text)
        self.connection.refuse(stream_id, code)

    def _headers_too_large(self, event: ev.OversizedHeaders) -> None:
        """A call with too much metadata. In trailers of a request it has none to lose."""
        text = f"the metadata is larger than the {self.limits.header_bytes} bytes allowed"
        if (call := self._calls.get(event.stream_id)) is not None:
            self.refused("header_bytes", text)
            self.connection.reset(event.stream_id, ENHANCE_YOUR_CALM)
            call.stream.closed = True
            call.cancel(Reason.RESET)
        elif self._draining:
            self._refuse("draining", event.stream_id, REFUSED_STREAM, "the server is shutting down")
        else:
            self._answer_exhausted("header_bytes", event, text)

    def _answer_exhausted(
        self, kind: str, event: ev.HeadersArrived | ev.OversizedHeaders, text: str
    ) -> None:
        """With what no library tries again by itself, as it does after REFUSED_STREAM."""
        self.refused(kind, text)
        error = RpcError(StatusCode.RESOURCE_EXHAUSTED, text)
        self._answer(event, RESPONSE_HEADERS + trailers_of(error, self.limits))

    def _answer(self, event: ev.HeadersArrived | ev.OversizedHeaders, headers: ev.Headers) -> None:
        self.connection.send_headers(event.stream_id, headers, end_stream=True)
        if not event.ended:
            self.connection.reset(event.stream_id, NO_ERROR)

    def _trailers_arrived(self, stream: MessageStream, event: ev.TrailersArrived) -> None:
        """gRPC has no trailers of requests, but malformed ones are still an error."""
        try:
            check_fields(event.headers, frozenset())
        except Malformed as error:
            self._refuse("malformed", stream.id, PROTOCOL_ERROR, str(error))
            stream.closed = True
            self._calls[stream.id].cancel(Reason.RESET)

    def _rule_broken(self, event: ev.StreamReset) -> None:
        self.refused("stream_error", event.text)

    def _stream_reset(
        self,
        stream: MessageStream,
        event: ev.StreamReset,  # noqa: ARG002  a channel's connection has a use for it
    ) -> None:
        self._calls[stream.id].cancel(Reason.RESET)

    def _ping_answered(self, event: ev.PingAnswered) -> None:
        if event.data == _DRAIN_PING:
            self._pinged.set()
