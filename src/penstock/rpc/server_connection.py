"""One connection on a server: its reader, its writer, its calls.

Theory of operation. ``run`` owns every task of a connection, in two nurseries. The inner one has
the reader (endpoint.py), the keep-alive and one task for each call; the outer one has the writer,
which outlives them, because answers and GOAWAY must still be written after the last call:

    serving ── drain() ──▶ draining ── the last call's answer is written ──▶ ended
    serving, draining ── shut_down(), revoke() ──▶ hurried ── the last call has ended ──▶ ended
    any ── the peer is gone, breaks the protocol, or is idle ──▶ ended
    ended ── ``read`` returns, calls are cancelled, the writer ends, linger ──▶ closed

*serving*: a call's headers are judged in ``_headers_arrived``, in the reader's task and without a
checkpoint, so that a rejected call costs no task and no memory. *draining*: new calls are reset
with REFUSED_STREAM, which lets a client repeat them elsewhere; running calls stay. *hurried*: calls
are cancelled, and answers that a slow peer does not read are not waited for.

Who may call what: the server calls ``run`` once, and ``drain``, ``shut_down``, ``revoke`` and
``withdraw`` from other tasks, in any order and repeatedly; only the first GOAWAY with a last stream
is sent. ``call_ended`` is called by each call's own task, as its last act. Only ``drain`` has a
checkpoint.

The race that shaped it: a client sends a call while the server's GOAWAY is under way. A GOAWAY that
names the last stream at once would refuse that call although the client could not know. So
``drain`` first sends one that refuses nothing, with a PING; what was sent before the client saw it
has arrived when the PING's answer has. The second race is at the end: the last call ends, but its
answer may still be in the writer. ``_end_if_drained`` is therefore called by both ends of it, when
a call ends and when the writer has nothing left (``_all_written``).
"""

from functools import partial
from typing import Final

import trio

from .call_admission import CallAdmission
from .call_errors import Reason, Refused, RpcError, StatusCode
from .endpoint import Ended, HttpEndpoint
from .http2 import events as ev
from .http2.connection import HIGHEST_STREAM_ID
from .http2.protocol_errors import ENHANCE_YOUR_CALM, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM
from .message_stream import MessageStream
from .metadata import (
    ACCEPT_ENCODING,
    RESPONSE_HEADERS,
    HttpRefused,
    Malformed,
    check_fields,
    parse_request,
)
from .server_call import Peer, RefusalOf, ServerCall
from .server_state import ClientLoad, Shared
from .status_codec import trailers_of
from .tls.transport_interface import Transport, TransportLost

_DRAIN_PING: Final = b"draining"
_DRAIN_PING_S: Final = 1.0


class ServerConnection(HttpEndpoint[MessageStream]):
    """A server's end of a connection: judges calls, runs them, and ends them.

    Each call has a scope of its own, because reset and deadline end one call, but the connection's
    end ends all. ``refusal`` is the answer to every call of a peer that could not be identified.
    """

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
        self._why = "the server is shutting down"
        self._greeted = False
        self._pinged = trio.Event()
        self._admission = CallAdmission(shared, peer, identity, refusal)

    @property
    def running_calls(self) -> int:
        """How many handlers have not ended, including cancelled ones that still clean up."""
        return len(self._calls)

    async def run(self) -> None:
        """Serves until the connection ends. Cancelled: minimum cleanup, so the peer sees it break.

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
        """Asks the peer to begin no new calls; the connection ends with its last call.

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
        """Ends calls with UNAVAILABLE, then the connection, even if bytes wait to be written.

        No checkpoint.
        """
        self._begin_nothing_new()
        self._hurry = True
        self.cancel_calls(Reason.SHUTDOWN)
        self._end_if_drained()

    def revoke(self, reason: Reason) -> None:
        """Ends calls with the status of ``reason``, then the connection, as ``shut_down`` does.

        No checkpoint.
        """
        self._begin_nothing_new(reason.value)
        self._hurry = True
        if reason.error is not None:
            self._why = reason.error.message
        self.cancel_calls(reason)
        self._end_if_drained()

    def withdraw(self, refusal_of: RefusalOf) -> int:
        """Ends those of its calls for which ``refusal_of`` has an error; returns how many.

        No checkpoint.
        """
        ended = 0
        for call in list(self._calls.values()):
            error = refusal_of(self.identity, *call.asked)
            if error is not None:
                call.cancel(Reason.WITHDRAWN, error)
                ended += 1
        return ended

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
        # Not while bytes wait, because they may be an ended call's answer to a slow reader.
        if self._hurry or not (self._writing or self.connection.pending_bytes):
            self.end(Ended("drained", self._why, reachable=True))

    def _all_written(self) -> None:
        self._end_if_drained()

    def _write_failed(self, error: TransportLost) -> None:
        """Ends the connection at once, because no answer can reach the client any more."""
        self.end(Ended("lost", str(error), during_tls=error.during_tls))

    def _nobody_is_there(self) -> bool:
        """Whether the client has closed. Its backlog is dropped then, because it can receive no
        answer and its calls end with it. A client instead reads what a server sent before."""
        return self._transport.peer_has_closed()

    def _timed_out(self) -> Ended:
        if not self._peer_speaks:
            return Ended("preface_timeout", "no HTTP/2 preface arrived in time")
        last = self.connection.highest_inbound_stream_id
        self.connection.go_away(NO_ERROR, last, "idle")
        return Ended("idle", "no calls for too long", reachable=True)

    def _settings_arrived(self) -> None:
        if not self._greeted:  # only the first, because later ones are no sign of use
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
            method = self._admission.admitted(head)
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

    def refused(self, kind: str, text: str) -> None:
        """Counts and logs a call that was not served to its end for a fault of the client's."""
        self._admission.refused(kind, text)

    def _refuse(self, kind: str, stream_id: int, code: int, text: str) -> None:
        self.refused(kind, text)
        self.connection.refuse(stream_id, code)

    def _headers_too_large(self, event: ev.OversizedHeaders) -> None:
        """Answers a call with too much metadata. In a request's trailers it resets the call."""
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
        """Answers RESOURCE_EXHAUSTED, because a library would repeat the call by itself after a
        REFUSED_STREAM."""
        self.refused(kind, text)
        error = RpcError(StatusCode.RESOURCE_EXHAUSTED, text)
        self._answer(event, RESPONSE_HEADERS + trailers_of(error, self.limits))

    def _answer(self, event: ev.HeadersArrived | ev.OversizedHeaders, headers: ev.Headers) -> None:
        self.connection.send_headers(event.stream_id, headers, end_stream=True)
        if not event.ended:
            self.connection.reset(event.stream_id, NO_ERROR)

    def _trailers_arrived(self, stream: MessageStream, event: ev.TrailersArrived) -> None:
        """Ignores a request's trailers, which gRPC does not have, but rejects malformed ones."""
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
