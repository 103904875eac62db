"""One HTTP/2 stream with gRPC messages in both directions, on either side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import trio

from .call_errors import Refused, RpcError, StatusCode
from .http2.protocol_errors import Flood
from .message_framing import PREFIX_BYTES, Deframer, prefix

if TYPE_CHECKING:
    from .endpoint import HttpEndpoint


# A connection may hold so much whatever others do, so that who fills the server shuts nobody out.
_FREE_BYTES: Final = 65_536


@dataclass(slots=True)
class HeldData:
    """Inbound bytes of messages that are not complete or not taken; how many there may be."""

    most: int
    where: str
    size: int = 0


class SendStalled(Exception):
    """The peer has opened no window for ``Limits.stream_stall_s``."""


class StreamClosed(Exception):
    """The stream has ended under a sender; how is for the receiving side to tell."""


class MessageStream:
    """Messages in and out. One task may receive while another sends.

    Inbound memory is bounded by the stream's window, one message and what the connection,
    its client and the server may hold: window is handed back at once for what belongs to a
    message that is not complete, and for complete ones when they are taken.
    """

    truncated_code = StatusCode.INVALID_ARGUMENT

    def __init__(
        self,
        link: HttpEndpoint[Any],
        stream_id: int,
        encoding: str = "identity",
        *,
        message_bytes: int | None = None,
    ) -> None:
        """``message_bytes``: of one message; None is what the connection's limits say."""
        self.id = stream_id
        self.ended = False
        """The peer will send no more."""
        self.closed = False
        """Nothing more can be sent: reset, answered, or the connection is gone."""
        self.failure: RpcError | None = None
        self._link = link
        self._deframer = Deframer(message_bytes or link.limits.message_bytes, encoding)
        self._held = 0
        self._unacknowledged = 0
        self._arrived: trio.Event | None = None
        self._writable: trio.Event | None = None
        self._operations = 0

    # From the link; never blocks.

    def feed(self, data: bytes, flow_bytes: int) -> None:
        """DATA has arrived. A rule it breaks becomes this stream's failure.

        Raises ConnectionFailed when that does not stop the peer.
        """
        if self.failure is not None:
            # Its handler has not noticed, and may not for long.
            self._link.connection.acknowledge(self.id, flow_bytes)
            self._link.connection.count_late_frame()
            return
        self._unacknowledged += flow_bytes
        try:
            self._judge(len(data))
            self._deframer.feed(data)
            self._judge_little(len(data))
        except Refused as error:
            self.fail(error)
            return
        self._settle()
        if self._arrived is not None and self._deframer.ready:
            self._arrived.set()

    def _judge(self, size: int) -> None:
        """Raises Refused if ``size`` more bytes are more than may be held."""
        connection, *others = self._link.held
        if connection.size + size <= connection.most:
            if connection.size + size <= _FREE_BYTES:
                return
            for held in others:
                if held.size + size > held.most:
                    connection = held
                    break
            else:
                return
        raise Refused(
            "unfinished_bytes",
            StatusCode.RESOURCE_EXHAUSTED,
            f"too many bytes of unfinished messages {connection.where}",
        )

    def _judge_little(self, size: int) -> None:
        """Raises Refused for a few bytes too many that have completed no message.

        A frame costs the same whatever it holds, and a message of 4 MiB a byte a frame would
        keep us busy for a minute.
        """
        if 0 < size < self._link.limits.little_data_bytes and not self._deframer.ready:
            try:
                self._link.little_data.take()
            except Flood as flood:
                raise Refused(
                    "little_data",
                    StatusCode.RESOURCE_EXHAUSTED,
                    "a message in too many frames of few bytes",
                ) from flood

    def end(self) -> None:
        """The peer has ended its side."""
        self.ended = True
        self.notify()

    def fail(self, error: RpcError) -> None:
        """``receive`` raises ``error`` once the messages before it are taken. The first counts."""
        if self.failure is None:
            self.failure = error
            self._settle()
        self.notify()

    def _settle(self) -> None:
        """Of what is held, and hands back the window of what no handler has to take."""
        deframer = self._deframer
        if not deframer.ready:
            if self.failure is not None:
                deframer.clear()
            self._acknowledge(self._unacknowledged)
        self._hold(deframer.pending_bytes)

    def notify(self) -> None:
        """Wakes whoever waits for anything here."""
        if self._arrived is not None:
            self._arrived.set()
        self.window_opened()

    def window_opened(self) -> None:
        """The peer takes more now: a send that waits looks again."""
        if self._writable is not None:
            self._writable.set()

    def release(self) -> None:
        """Gives back what it holds of the connection's budget and window."""
        self._deframer.clear()
        self._hold(0)
        self._acknowledge(self._unacknowledged)

    # From the task that owns it.

    async def receive(self) -> bytes | None:
        """The next message; None when the peer has ended its side.

        Raises RpcError: a rule was broken, or (client) the connection is gone.

        A call that must wait is a checkpoint. Where a message is there it is one in each
        ``Limits.sends_per_checkpoint`` (8) calls only, and otherwise no checkpoint: who does more
        than passing it on adds its own.

        Cancellation: atomic.
        """
        deframer = self._deframer
        if not deframer.ready:
            while not deframer.ready:
                if self.failure is not None:
                    raise self.failure
                if self.ended:
                    if deframer.pending_bytes:
                        text = "the last message is truncated"
                        self.fail(Refused("truncated", self.truncated_code, text))
                        continue
                    return None
                self._arrived = trio.Event()
                try:
                    await self._arrived.wait()
                finally:
                    self._arrived = None
        else:
            await self._checkpoint_sometimes()
        message = deframer.take()
        self._link.little_data.give(self._link.limits.little_data_per_message)
        self._acknowledge(min(len(message) + PREFIX_BYTES, self._unacknowledged))
        try:
            deframer.next_message()
        except Refused as error:
            self.fail(error)
        self._settle()
        self._link.wake()
        return message

    async def send(self, message: bytes) -> None:
        """Waits for the peer's windows and for room in the connection's buffer.

        Raises SendStalled, StreamClosed. Cancelled: an unknown part is sent, and only a
        reset or a status other than OK may follow.

        A call that must wait is a checkpoint. Where there is room it is one in each
        ``Limits.sends_per_checkpoint`` (8) calls only, and otherwise no checkpoint: neither do
        others run, nor is Cancelled raised.

        Cancellation: minimum cleanup; C1, C45.
        """
        connection = self._link.connection
        head = prefix(len(message))
        rest = memoryview(message)
        await self._checkpoint_sometimes()
        while True:
            allowed = await self._wait_sendable()
            if len(head) + len(rest) <= allowed:
                connection.send_data(self.id, head, rest)
                self._link.wake()
                return
            size = allowed - len(head)
            if size > 0:
                connection.send_data(self.id, head, rest[:size])
                rest = rest[size:]
                head = b""
            else:
                connection.send_data(self.id, head[:allowed])
                head = head[allowed:]
            self._link.wake()

    async def _wait_sendable(self) -> int:
        """How many bytes one frame may carry now, at least 1. No checkpoint if it need not wait."""
        link = self._link
        allowed = link.connection.send_window(self.id)
        if allowed > 0 and link.has_room and not self.closed:
            return allowed
        # Scope S3.send.
        with trio.move_on_after(link.limits.stream_stall_s):
            while True:
                if allowed < 0 or self.closed:
                    raise StreamClosed
                if not link.has_room:
                    await link.wait_room()
                elif allowed == 0:
                    self._writable = trio.Event()
                    try:
                        await self._writable.wait()
                    finally:
                        self._writable = None
                else:
                    return allowed
                allowed = link.connection.send_window(self.id)
        raise SendStalled

    async def _checkpoint_sometimes(self) -> None:
        # A whole checkpoint costs more than a small message: every few of them, others run.
        self._operations += 1
        if self._operations % self._link.limits.sends_per_checkpoint == 0:
            await trio.lowlevel.checkpoint()

    def _hold(self, held: int) -> None:
        more = held - self._held
        if more:
            self._held = held
            for each in self._link.held:
                each.size += more

    def _acknowledge(self, flow_bytes: int) -> None:
        if flow_bytes:
            self._unacknowledged -= flow_bytes
            self._link.connection.acknowledge(self.id, flow_bytes)
