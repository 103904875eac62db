"""Sends a job its input, each byte once, over as many connections as it takes."""

import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ..concurrency.interrupts import uninterrupted, uninterrupted_methods
from ..concurrency.plain_errors import PlainErrors
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError, StatusCode
from ..rpc.channel import ClientCall
from .client import Client
from .first_connection import CONNECT_S, Connect, Endpoint, connect
from .retry import GIVE_UP_S, Attempts, is_away

# Bytes of one request; every server takes so many.
_PIECE_BYTES: Final = 64 * 1024

Source = Callable[[], Awaitable[bytes]]
"""The next bytes; b"" at the end, and not asked again after it. Asked for one piece ahead of what
is sent."""


@uninterrupted_methods
class InputSender:
    """Feeds one job once. One piece at a time is under way, and kept until it is accepted."""

    def __init__(
        self,
        endpoint: Endpoint,
        handle: str,
        *,
        give_up_s: float = GIVE_UP_S,
        connecting: Connect = connect,
        connect_timeout_s: float = CONNECT_S,
    ) -> None:
        """``give_up_s``: how long to try after a loss without anything new; 0: not at all. For the
        first connection ``connecting`` tries, for ``connect_timeout_s``
        (``penstock.client.connect``); if it fails there is no retry."""
        self.accepted = 0
        """Bytes of the job's input in all, as far as was answered."""
        self._handle = handle
        self._attempts = Attempts(
            endpoint, give_up_s, connecting=connecting, connect_timeout_s=connect_timeout_s
        )
        self._answered = False
        self._name = str(uuid.uuid4())
        self._piece = b""
        self._offset = 0
        self._read_all = False
        self._read_error: Exception | None = None

    async def feed(self, source: Source, *, end: bool = True) -> None:
        """Returns when all that ``source`` gives is accepted, after what was accepted before;
        and with ``end`` the input's end.

        Raises RpcError for what the server refuses (FAILED_PRECONDITION: the job takes no more;
        ABORTED: another sender is active, or was meanwhile), also while ``source`` has nothing;
        ConnectionLost when it has given up, and what ``connect`` and ``source`` raise. Cancelled:
        what the server has accepted is the job's.

        Cancellation: minimum cleanup; C19.
        """
        # Read in a task of its own, so that a connection lost meanwhile loses none of it.
        give, pieces = trio.open_memory_channel[bytes](0)
        errors = PlainErrors()
        with pieces, errors.outside():
            # Scope K3.feed.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, source, give)
                with errors.inside():
                    await self._feed(pieces, end)
                # Cancels K3.feed.
                nursery.cancel_scope.cancel()

    async def _read(self, source: Source, give: trio.MemorySendChannel[bytes]) -> None:
        with give:
            piece = b"-"
            while piece:
                try:
                    piece = await source()
                except Exception as error:
                    self._read_error = error
                    return
                await give.send(piece)

    async def _feed(self, pieces: trio.MemoryReceiveChannel[bytes], end: bool) -> None:
        async def attempt(client: Client) -> None:
            await self._send(client, pieces, end)

        def passes(error: RpcError) -> bool:
            return self._answered and is_away(error)

        await self._attempts.make(attempt, passes=passes)

    async def _send(
        self, client: Client, pieces: trio.MemoryReceiveChannel[bytes], end: bool
    ) -> None:
        async with client.send_input() as call:
            # Resumes here, because the server may have accepted a part of the piece under way.
            answer = await _asked(
                call,
                pb.SendInputRequest(pid=self._handle, sender=self._name, goes_on=self._answered),
            )
            if not self._answered:
                self._offset = answer.accepted
            self._answered = True
            while True:
                self._accepted(answer)
                if not self._piece and not self._read_all:
                    self._attempts.progress()  # because nothing newer can come
                    await self._next_piece(call, pieces)
                if self._read_all and not self._piece and (answer.eof or not end):
                    break
                request = pb.SendInputRequest(
                    offset=self._offset,
                    data=self._piece[:_PIECE_BYTES],
                    eof=self._read_all and end,
                )
                answer = await _asked(call, request)
            call.end()

    async def _next_piece(
        self,
        call: ClientCall[pb.SendInputResponse],
        pieces: trio.MemoryReceiveChannel[bytes],
    ) -> None:
        """Raises the call's error if it ends before there is a piece. Cancelled: the next call
        returns it."""
        failure: Exception | None = None
        errors = PlainErrors()

        @uninterrupted
        async def watch() -> None:
            nonlocal failure
            try:
                await _answer(call)  # no request is under way, so it can only end
                failure = RpcError(StatusCode.INTERNAL, "the server answers what was not asked")
            except RpcError as error:
                failure = error
            # Cancels K3.piece.
            nursery.cancel_scope.cancel()

        with errors.outside():
            # Scope K3.piece.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                with errors.inside():
                    try:
                        self._piece = await pieces.receive()
                        self._read_all = not self._piece
                        failure = None
                    except trio.EndOfChannel:
                        failure = self._read_error
                # Cancels K3.piece.
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def _accepted(self, answer: pb.SendInputResponse) -> None:
        if not self._offset <= answer.accepted <= self._offset + len(self._piece):
            raise RpcError(
                StatusCode.INTERNAL,
                f"the server says that {answer.accepted} bytes are accepted, which cannot be",
            )
        if answer.accepted > self._offset:
            self._attempts.progress()
        self._piece = self._piece[answer.accepted - self._offset :]
        self._offset = self.accepted = answer.accepted


async def _asked(
    call: ClientCall[pb.SendInputResponse], request: pb.SendInputRequest
) -> pb.SendInputResponse:
    await call.send(request)  # if the call has ended, its answer has the error
    return await _answer(call)


async def _answer(call: ClientCall[pb.SendInputResponse]) -> pb.SendInputResponse:
    async for answer in call:
        return answer
    raise RpcError(StatusCode.INTERNAL, "the server has ended the call without a reason")
