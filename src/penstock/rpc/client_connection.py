"""One connection of a client: its reader, its writer, and the streams of its calls."""

from typing import Final

import trio

from ..concurrency.interrupts import uninterrupted_methods
from .call_errors import ConnectionLost, HandshakeFailed, RpcError, StatusCode
from .endpoint import Ended, HttpEndpoint
from .http2 import events as ev
from .http2.connection import HIGHEST_STREAM_ID, ConnectionFailed
from .http2.protocol_errors import (
    CANCEL,
    ENHANCE_YOUR_CALM,
    INTERNAL_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
)
from .limits import Limits
from .message_stream import MessageStream
from .metadata import Malformed, fields_of
from .status_codec import error_from_reset, error_from_trailers
from .tls.transport_interface import Transport
from .turns import FairTurns

# Kinds of end (endpoint.py, transport.py) that are no decision of the server, so they may pass.
_CUT: Final = ("closed", "lost", "drained")
_ASKING_PING: Final = b"askedfor"


class ClientStream(MessageStream):
    """A call's stream. ``receive`` gives the messages first, then raises how the call failed."""

    answered = False
    """Response headers have arrived."""
    status_known = False
    truncated_code = StatusCode.INTERNAL

    def begin(self, encoding: str) -> None:
        """The server's response headers have arrived, so messages may follow."""
        self.answered = True
        self._deframer.encoding = encoding

    def end(self) -> None:
        """The call is over, so no more requests are sent, because the server would drop them."""
        self.closed = True
        if not self.status_known:
            self.fail(RpcError(StatusCode.UNKNOWN, "the server ended the call without a status"))
        super().end()

    def fail(self, error: RpcError) -> None:
        """Ends the call with this error, which the caller's pending ``receive`` then raises."""
        self.closed = True
        super().fail(error)

    def conclude(self, error: RpcError | None) -> None:
        """Takes the server's status; None is OK. The connection calls ``end`` next."""
        self.status_known = True
        if error is not None:
            self.fail(error)


@uninterrupted_methods
class ClientConnection(HttpEndpoint[ClientStream]):
    """A client's end of a connection: opens streams for calls, and fails them when it ends.

    ``unusable`` has the reason why no new call can begin; None: calls can begin.
    """

    def __init__(self, transport: Transport, limits: Limits) -> None:
        super().__init__(transport, limits, FairTurns(), client_side=True)
        self.unusable: ConnectionLost | None = None
        self.became_unusable = trio.Event()
        self._ready = trio.Event()
        self._answered = trio.Event()
        self._slots = trio.lowlevel.ParkingLot()
        self._going = False

    async def run(self) -> None:
        """Runs the connection until it ends or is cancelled; every call has failed then.

        Cancellation: minimum cleanup; C2.
        """
        try:
            # Scope K1.link.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.write)
                nursery.start_soon(self.keep_alive)
                await self.read()
                self._fail_all()
                if self.ended is not None and self.ended.reachable:
                    # GOAWAY without waiting, because this server has broken the protocol.
                    self._transport.send_nowait(self.connection.take())
                # Cancels K1.link.
                nursery.cancel_scope.cancel()
            self._transport.close()
        finally:
            self._fail_all()  # because calls run in tasks of callers that may outlive the channel

    async def wait_ready(self) -> None:
        """Waits for the server's SETTINGS.

        They prove that the server accepts this client, because in TLS 1.3 a client learns only
        after its own handshake that its certificate was rejected.

        Raises HandshakeFailed, ConnectionLost.

        Cancellation: atomic.
        """
        await self._ready.wait()
        if self.unusable is not None:
            raise self.unusable

    async def wait_answer(self) -> None:
        """Sends a PING, and returns when the server has answered one: it is there. Raises
        ConnectionLost.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint()
        if self.unusable is None:
            self.connection.ping(_ASKING_PING)
            self.wake()
            await self._answered.wait()
        if self.unusable is not None:
            raise self.unusable

    async def open(self, headers: ev.Headers) -> ClientStream:
        """Begins a call; waits for a free stream. Raises ConnectionLost.

        Where a stream is free no other task runs: no checkpoint, although a cancelled caller gets
        Cancelled at once.

        Cancellation: atomic.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while self.unusable is None and len(self.streams) >= self.connection.max_outbound_streams:
            await self._slots.park()
        if self.unusable is not None:
            raise ConnectionLost(self.unusable.message, not_begun=True)
        try:
            stream_id = self.connection.next_stream_id()
        except ConnectionFailed as error:
            raise ConnectionLost(str(error), not_begun=True) from error
        stream = ClientStream(self, stream_id)
        self.streams[stream_id] = stream
        self.connection.open_stream(stream_id, headers)
        self.wake()
        return stream

    def close(self, stream: ClientStream) -> None:
        """Forgets a stream whose caller is done, and resets a call that has not ended.

        No checkpoint.
        """
        if self.ended is None:
            stream.release()
            self.connection.reset(stream.id, NO_ERROR if stream.ended else CANCEL)
            self.wake()
        self.streams.pop(stream.id, None)
        self._slots.unpark()
        self._end_if_drained()

    def _end_if_drained(self) -> None:
        """Closes once the last call has ended on a connection whose server has sent GOAWAY.

        The server waits for that, because it cannot know which requests are under way to it.
        """
        if self._going and not self.streams:
            self.end(Ended("drained", "the server is going away"))

    def say_goodbye(self) -> None:
        """Sends the pending resets and GOAWAY as far as the socket takes them. No checkpoint."""
        if self.ended is None:
            self.connection.go_away(NO_ERROR, 0)
            self._transport.send_nowait(self.connection.take())

    def _fail_all(self) -> None:
        ended = self.ended or Ended("cancelled", "the channel was closed")
        kind = HandshakeFailed if ended.during_tls else ConnectionLost
        may_pass = ended.kind in _CUT and not ended.during_tls
        self._become_unusable(kind(ended.text, may_pass=may_pass))
        for stream in self.streams.values():
            stream.closed = True
            stream.fail(ConnectionLost(ended.text))
        self._room.unpark_all()

    def _become_unusable(self, error: ConnectionLost) -> None:
        if self.unusable is None:
            self.unusable = error
        self.became_unusable.set()
        self._ready.set()
        self._answered.set()
        self._slots.unpark_all()

    def _ping_answered(self, event: ev.PingAnswered) -> None:  # noqa: ARG002  any of ours
        self._answered.set()
        self._answered = trio.Event()

    def _settings_arrived(self) -> None:
        self._ready.set()
        self._slots.unpark_all()

    def _headers_arrived(self, event: ev.HeadersArrived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        try:
            fields = fields_of(event.headers, response=True)
            if b":status" not in fields:
                raise Malformed("a response needs :status")
        except Malformed as error:
            self._abandon(stream, PROTOCOL_ERROR, str(error))
            return
        if event.ended:
            stream.conclude(error_from_trailers(fields))
        elif fields.get(b":status") != b"200":
            stream.conclude(error_from_trailers({b":status": fields.get(b":status", b"")}))
            self.connection.reset(stream.id, CANCEL)
            stream.closed = True
        elif not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            self._abandon(stream, INTERNAL_ERROR, "the server does not speak gRPC")
        else:
            stream.begin(fields.get(b"grpc-encoding", b"identity").decode("ascii", "replace"))

    def _headers_too_large(self, event: ev.OversizedHeaders) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            text = f"the server's metadata is larger than the {self.limits.header_bytes} allowed"
            self._abandon(stream, CANCEL, text, StatusCode.RESOURCE_EXHAUSTED)

    def _trailers_arrived(self, stream: ClientStream, event: ev.TrailersArrived) -> None:
        try:
            fields = fields_of(event.headers, response=False)
        except Malformed as error:
            self._abandon(stream, PROTOCOL_ERROR, str(error))
        else:
            stream.conclude(error_from_trailers(fields))

    def _abandon(
        self,
        stream: ClientStream,
        code: int,
        text: str,
        status: StatusCode = StatusCode.INTERNAL,
    ) -> None:
        self.connection.reset(stream.id, code)
        stream.closed = True
        stream.fail(RpcError(status, text))

    def _stream_reset(self, stream: ClientStream, event: ev.StreamReset) -> None:
        if not stream.ended:
            if event.by_peer:
                stream.fail(error_from_reset(event.code))
            elif event.code == ENHANCE_YOUR_CALM:
                stream.fail(RpcError(StatusCode.RESOURCE_EXHAUSTED, f"of the server {event.text}"))
            else:
                stream.fail(RpcError(StatusCode.INTERNAL, "the server broke HTTP/2's rules"))
        stream.notify()

    def _going_away(self, event: ev.GoingAway) -> None:
        text = event.text or "the server is going away"
        self._become_unusable(ConnectionLost(text, may_pass=event.code == NO_ERROR))
        for stream in list(self.streams.values()):
            if stream.id > event.last_stream_id:
                stream.closed = True
                lost = ConnectionLost(f"{text}; the call was not processed", not_begun=True)
                stream.fail(lost)
        if event.last_stream_id < HIGHEST_STREAM_ID:  # otherwise another GOAWAY follows
            self._going = True
            self._end_if_drained()
