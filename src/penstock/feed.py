"""Sends a job its input, each byte once, over as many connections as it takes."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from .backoff import Backoff
from .client import Endpoint, connect
from .proto import command_pb2 as pb
from .rpc.client import ClientCall
from .rpc.errors import HandshakeFailed, RpcError, StatusCode

GIVE_UP_S: Final = 60.0

Source = Callable[[], Awaitable[bytes]]
"""The next bytes, at most 256 KiB; b"" at the end, and not asked again after it."""


class Feeder:
    """Feeds one job once. One piece at a time is under way, and kept until it is accepted."""

    def __init__(self, endpoint: Endpoint, handle: str, *, give_up_s: float = GIVE_UP_S) -> None:
        """``give_up_s``: how long to try after a loss without anything new; 0: not at all. A
        server that was never reached is not tried again."""
        self.accepted = 0
        """Bytes of the job's input in all, as far as was answered."""
        self._endpoint = endpoint
        self._handle = handle
        self._backoff = Backoff(give_up_s)
        self._reached = False
        self._piece = b""
        self._offset = 0
        self._read_all = False

    async def feed(self, source: Source, *, end: bool = True) -> None:
        """Returns when all that ``source`` gives is accepted, after what was accepted before;
        and with ``end`` the input's end.

        Raises RpcError for what the server refuses (FAILED_PRECONDITION: the job takes no more;
        ABORTED: somebody else sends), ConnectionLost when it has given up, and what ``connect``
        and ``source`` raise. Cancelled: what was accepted is the job's.

        Cancellation: minimum cleanup; C19.
        """
        while True:
            try:
                await self._attempt(source, end)
                return
            except RpcError as error:
                away = error.code is StatusCode.UNAVAILABLE and self._reached
                if not away or isinstance(error, HandshakeFailed):
                    raise
                pause_s = self._backoff.pause_s(trio.current_time())
                if pause_s is None:
                    raise
            await trio.sleep(pause_s)

    async def _attempt(self, source: Source, end: bool) -> None:
        async with connect(self._endpoint) as client, client.send_input() as call:
            # Where to go on: some of what was under way may have been accepted.
            answer = await _asked(call, pb.SendInputRequest(pid=self._handle))
            if not self._reached:
                self._offset = answer.accepted
            self._reached = True
            while True:
                self._accepted(answer)
                if self._read_all and not self._piece and (answer.eof or not end):
                    break
                if not self._piece and not self._read_all:
                    self._piece = await source()
                    self._read_all = not self._piece
                    if self._read_all and not end:
                        break
                request = pb.SendInputRequest(
                    offset=self._offset, data=self._piece, eof=self._read_all and end
                )
                answer = await _asked(call, request)
            call.end()

    def _accepted(self, answer: pb.SendInputResponse) -> None:
        if answer.accepted > self._offset:
            self._backoff.progress()
        self._piece = self._piece[answer.accepted - self._offset :]
        self._offset = self.accepted = answer.accepted


async def _asked(
    call: ClientCall[pb.SendInputResponse], request: pb.SendInputRequest
) -> pb.SendInputResponse:
    await call.send(request)  # if the call has ended, the next line says how
    async for answer in call:
        return answer
    raise RpcError(StatusCode.INTERNAL, "the server has ended the call without a reason")
