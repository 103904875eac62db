"""One call of a client: the requests that it sends, and the responses of the server."""

from typing import Generic, TypeVar

import trio
from google.protobuf.message import DecodeError, Message

from ..concurrency.interrupts import uninterrupted_methods
from .call_errors import RpcError, StatusCode
from .client_connection import ClientConnection, ClientStream
from .message_stream import SendStalled, StreamClosed

MessageT = TypeVar("MessageT", bound=Message)


@uninterrupted_methods
class ClientCall(Generic[MessageT]):
    """A call under way: an async iterator of its responses, with ``send`` for its requests.

    One task may iterate while another sends.
    """

    def __init__(
        self,
        link: ClientConnection,
        stream: ClientStream,
        response_type: type[MessageT],
        deadline: float,
    ) -> None:
        self._link = link
        self._stream = stream
        self._type = response_type
        self._deadline = deadline

    async def send(self, message: Message) -> bool:
        """Sends one request; waits while the server's windows are full.

        False: the server has ended the call already, and iterating raises or ends as it did.
        Raises RpcError. Cancelled, part of the message may be sent, so the caller must leave the
        call.

        No checkpoint in most calls that need not wait: see Stream.send.

        Cancellation: minimum cleanup; C3.
        """
        try:
            # Scope K2.send.
            with trio.move_on_at(self._deadline):
                await self._stream.send(message.SerializeToString())
                return True
        except StreamClosed:
            return False
        except SendStalled:
            raise RpcError(
                StatusCode.UNAVAILABLE, "the server does not read what is sent to it"
            ) from None
        raise deadline_exceeded()

    def end(self) -> None:
        """Ends the requests, so that the server's handler sees the end of them. Idempotent."""
        self._link.connection.end_stream(self._stream.id)
        self._link.wake()

    def __aiter__(self) -> "ClientCall[MessageT]":
        return self

    async def __anext__(self) -> MessageT:
        """Raises RpcError: the server's status, the deadline, or the connection's end.

        No checkpoint in most calls that find a message: see Stream.receive.

        Cancellation: atomic; C3.
        """
        # Scope K2.receive.
        with trio.move_on_at(self._deadline):
            data = await self._stream.receive()
            if data is None:
                raise StopAsyncIteration
            return _parsed(self._type, data)
        raise deadline_exceeded()

    async def only_response(self) -> MessageT:
        """The one response of a unary or client-streaming call. Raises RpcError.

        Cancellation: minimum cleanup.
        """
        first: MessageT | None = None
        async for message in self:
            if first is not None:
                raise RpcError(StatusCode.INTERNAL, "the server sent a second response")
            first = message
        if first is None:
            raise RpcError(StatusCode.INTERNAL, "the server sent no response")
        return first


def deadline_exceeded() -> RpcError:
    """The error of a deadline that passed by the client's own clock, before the server answered."""
    return RpcError(StatusCode.DEADLINE_EXCEEDED, "the deadline has passed")


def _parsed(response_type: type[MessageT], data: bytes) -> MessageT:
    try:
        return response_type.FromString(data)
    except DecodeError:
        name = response_type.DESCRIPTOR.full_name
        raise RpcError(StatusCode.INTERNAL, f"the response is not a {name}") from None
