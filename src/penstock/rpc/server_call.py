"""One call on a server: from its headers to its status.

Theory of operation. A ServerCall is made when a call's headers are admitted, and its ``run`` is one
task in its connection's nursery. It parses the request, runs the handler and sends what it yields:

    begun ── first message sent ──▶ responded ── the handler returns ──▶ finished (OK)
    begun, responded ── the handler raises, or ``cancel(reason)`` ──▶ finished (its status, or none)

``_finish`` is the only place that sends a status, and it sends one only while the stream is open.
The status needs no flow-control window, so a client that does not read cannot delay the end.
However a call ends, ``run`` calls ``call_ended`` last, which gives back what the call held.

Who may call what: the connection calls ``run`` once, in a task of its own. ``cancel`` may be called
by any task at any time and has no checkpoint: by the connection (reset, disconnect, shutdown) and
by the server (revoked, expired, withdrawn). Only the first reason counts, because the later ones
follow from it: a client that is revoked also loses its connection.

The race that shaped it: a call's end has up to three causes at once, the handler's own, its
deadline and ``cancel``. The scope decides. Cancelled from outside this call's own scope means that
the connection breaks, so no status is sent. Cancelled by the scope without a reason means the
deadline. A handler that has returned before the scope acted has ended in its own way, and a
``cancel`` that comes then changes nothing. A sender that finds its stream closed therefore does not
raise: it waits for the cancellation that closed the stream and is about to arrive (``_send``).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import trio
from google.protobuf.message import Message
from purerpc import Cardinality
from purerpc.grpclib.events import RequestReceived
from purerpc.grpclib.exceptions import RpcFailedError

from .call_errors import Reason, Refused, RpcError, StatusCode
from .http2.protocol_errors import NO_ERROR
from .internal_errors import reported
from .message_stream import MessageStream, SendStalled, StreamClosed
from .metadata import ACCEPT_ENCODING, RESPONSE_HEADERS, Metadata, RequestHead
from .served_methods import ServedMethod, Turn, parsed
from .status_codec import trailers_of

if TYPE_CHECKING:
    from .server_connection import ServerConnection


Admit: TypeAlias = Callable[[Any, str, str], None]
"""Called with identity, service and method when a call's headers are there, before anything of its
message is kept. Raises RpcError, which is the call's answer. May not block.
"""

RefusalOf: TypeAlias = Callable[[Any, str, str], RpcError | None]
"""Called with identity, service and method of a call that runs: why it may run no longer, or None.
May not block."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The client of a connection. ``address`` is ``host:port``, ``certificate`` its verified leaf
    in DER; ``issuers`` are the other certificates that it has sent, those of intermediate CAs."""

    address: str
    certificate: bytes
    issuers: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class CallContext:
    """``request.context`` of every handler.

    ``identity`` is what the server's ``identify`` made of the peer, None without one.
    ``deadline`` is on Trio's clock, None if the client set none; the call is cancelled then, so the
    handler need not watch it. ``metadata`` is the application's part of the headers.
    """

    peer: Peer
    identity: Any
    deadline: float | None
    metadata: Metadata


class RequestStream:
    """The request messages of a streaming call. Not a generator, so that it needs no closing."""

    def __init__(self, stream: MessageStream, method: ServedMethod, turn: Turn) -> None:
        self._stream = stream
        self._method = method
        self._turn = turn

    def __aiter__(self) -> RequestStream:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401  of the method's request type
        """The next message. Raises RpcError for one that breaks a rule; a handler should not catch
        that, because it is the answer to the client.

        No checkpoint in most calls that find a message: see Stream.receive.

        Cancellation: atomic.
        """
        data = await self._stream.receive()
        if data is None:
            raise StopAsyncIteration
        return await parsed(self._method, data, self._turn)


class ServerCall:
    """Runs one handler. However it ends, the client gets one status or none, and never the text
    of an exception, because that could disclose the server's internals."""

    def __init__(
        self, link: ServerConnection, stream: MessageStream, head: RequestHead, method: ServedMethod
    ) -> None:
        self.stream = stream
        self._method = method
        self._link = link
        self._head = head
        self._reason: Reason | None = None
        self._error: RpcError | None = None
        self._responded = False
        started = trio.current_time()
        timeout_s = head.timeout_s
        self._deadline = None if timeout_s is None else started + timeout_s
        # Scope S3.
        self._scope = trio.CancelScope()
        if self._deadline is not None:
            # Deadline S3.
            self._scope.deadline = self._deadline

    @property
    def asked(self) -> tuple[str, str]:
        """Service and method that were asked for."""
        return self._head.service, self._head.method

    def cancel(self, reason: Reason, error: RpcError | None = None) -> None:
        """Ends the handler at its next checkpoint. The first reason counts. ``error``: what the
        client gets in the place of the reason's own."""
        if self._reason is None:
            self._reason, self._error = reason, error
            # Cancels S3.
            self._scope.cancel()

    async def run(self) -> None:
        """Runs the handler to its end. Raises nothing but Cancelled; then no status is sent.

        No checkpoint if its handler has none.

        Cancellation: minimum cleanup; C1, C2, C3, C15.
        """
        error: RpcError | None
        try:
            with self._scope:
                await self._handle()
            if self._scope.cancelled_caught:
                self._reason = self._reason or Reason.DEADLINE
                error = self._error or self._reason.error
                if error is None:
                    return
            else:
                error = None
            self._finish(error)
        except SendStalled:
            self._reason = Reason.STALLED
            self._link.refused("stalled", "the client does not read")
            self._finish(Reason.STALLED.error)
        except Exception as failure:
            self._finish(self._translated(failure))
        finally:
            self._link.call_ended(self)

    async def _handle(self) -> None:
        head = self._head
        if head.timeout_s is not None and head.timeout_s <= 0:
            # Raised here, because the scope acts only at a checkpoint, and a handler may have none.
            raise RpcError(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")
        method, turn = self._method.bound, self._link.message_turn
        signature = method.signature
        argument: Any
        if signature.cardinality in (Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM):
            argument = await parsed(self._method, await self._only_request(), turn)
        else:
            argument = RequestStream(self.stream, self._method, turn)
        answer = method.method_fn(argument, request=self._request_event())
        if signature.cardinality in (Cardinality.UNARY_UNARY, Cardinality.STREAM_UNARY):
            await self._send((await answer).SerializeToString())
            return
        if inspect.isawaitable(answer):
            # The generated base class has a coroutine for a method that the service lacks.
            answer = await answer
        await self._send_all(answer)

    async def _only_request(self) -> bytes:
        # Scope S3.request.
        with trio.move_on_after(self._link.limits.request_s):
            data = await self.stream.receive()
            if data is None:
                raise Refused(
                    "no_message", StatusCode.INVALID_ARGUMENT, "the request has no message"
                )
            if await self.stream.receive() is not None:
                raise Refused(
                    "second_message",
                    StatusCode.INVALID_ARGUMENT,
                    "the request has a second message",
                )
            return data
        raise Refused(
            "request_timeout", StatusCode.DEADLINE_EXCEEDED, "the request did not arrive in time"
        )

    async def _send_all(self, answers: AsyncIterator[Message]) -> None:
        if not hasattr(answers, "aclose"):
            async for answer in answers:
                await self._send(answer.SerializeToString())
            return
        async with aclosing(answers) as closing:  # type: ignore[type-var]  # seen to have aclose
            async for answer in closing:
                await self._send(answer.SerializeToString())

    async def _send(self, message: bytes) -> None:
        if not self._responded:
            self._responded = True
            self._link.connection.send_headers(self.stream.id, RESPONSE_HEADERS, end_stream=False)
        try:
            await self.stream.send(message)
        except StreamClosed:
            # The event that closed the stream has cancelled this call, too, and its Cancelled is
            # about to arrive. An error instead would be taken for the handler's own.
            await trio.sleep_forever()

    def _finish(self, error: RpcError | None) -> None:
        """Sends the status. It needs no flow-control window, so it does not wait."""
        if self.stream.closed:
            return
        connection, stream_id = self._link.connection, self.stream.id
        if isinstance(error, Refused):
            self._link.refused(error.kind, error.message)
        try:
            trailers = trailers_of(error, self._link.limits)
        except Exception as bug:  # in how the handler has made its error
            error = reported(self._link.on_internal_error, bug)
            trailers = trailers_of(error, self._link.limits)
        if not self._responded:
            trailers = RESPONSE_HEADERS + trailers
            if isinstance(error, Refused) and error.kind == "compressed":
                trailers = [*trailers, ACCEPT_ENCODING]
        connection.send_headers(stream_id, trailers, end_stream=True)
        if not self.stream.ended:
            connection.reset(stream_id, NO_ERROR)  # RFC 9113 8.1: send no more
        self._link.wake()

    def _translated(self, failure: Exception) -> RpcError:
        while isinstance(failure, ExceptionGroup) and len(failure.exceptions) == 1:
            failure = failure.exceptions[0]  # a handler's nursery wraps what it raises
        if isinstance(failure, RpcError):
            return failure
        if isinstance(failure, RpcFailedError):
            status = failure.status
            return RpcError(StatusCode(status.status_code.value), status.status_message)
        if isinstance(failure, NotImplementedError):
            return RpcError(StatusCode.UNIMPLEMENTED, "the method is not implemented")
        return reported(self._link.on_internal_error, failure)

    def _request_event(self) -> RequestReceived:
        """purerpc's event, as its generated handlers expect it, with the CallContext attached."""
        head = self._head
        event: Any = RequestReceived(
            self.stream.id, head.scheme, head.service, head.method, head.content_type
        )
        event.authority = head.authority
        event.timeout = head.timeout_s
        event.user_agent = head.user_agent
        event.custom_metadata = head.metadata
        event.context = CallContext(
            self._link.peer, self._link.identity, self._deadline, head.metadata
        )
        return event
