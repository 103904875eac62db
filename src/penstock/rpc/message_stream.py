"""One HTTP/2 stream with gRPC messages in both directions, on either side.

Theory of operation. A stream stands between two tasks: the connection's reader, which calls
``feed``, ``end``, ``fail`` and ``window_opened`` as frames arrive, and the call's task, which calls
``receive`` and ``send``. Each direction has a state of its own:

    inbound    open ── ``end`` ──▶ ended      ``receive`` gives what is left, then None
               open ── ``fail`` ──▶ failed    ``receive`` gives whole messages, then raises
    outbound   open ── reset, answered, or the connection is gone ──▶ ``closed``

*Who may call what.* The reader's calls never wait, because one call's task must not hold up the
other calls of its connection. One task may ``receive`` while another ``send``s; two in the same
direction would overwrite each other's event. ``release`` is called once the call has ended.

*Memory is bounded by windows.* Window goes back to the peer at once for bytes of a message that is
not complete, because its handler could not take it and the peer could not end it otherwise. For
complete messages it goes back when they are taken, so that a slow handler holds its own client
back. What all unfinished messages hold is counted by connection, client and server (``_judge``).

*The race that shaped it*: a message arrives between the look and the wait. ``receive`` looks at the
deframer and makes a new event without a checkpoint between, so that no wake-up is lost; after
waking it looks again, because ``notify`` wakes for failures and the end as well. A reset may also
arrive while a sender waits for window: ``send`` then raises StreamClosed and not the reason, which
belongs to the receiving side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import trio

from .call_errors import Refused, RpcError, StatusCode
from .http2.protocol_errors import Flood
from .message_framing import PREFIX_BYTES, Deframer, prefix

if TYPE_CHECKING:
    from .endpoint import HttpEndpoint


# Any connection may hold so much, so that clients which fill the server's bound shut no other out.
_FREE_BYTES: Final = 65_536


class HeldData:
    """Counts inbound bytes of messages that are not complete or not taken, with their bound."""

    __slots__ = ("most", "size", "where")

    def __init__(self, most: int, where: str) -> None:
        self.most = most
        self.where = where
        self.size = 0


class SendStalled(Exception):
    """The peer has opened no window for ``Limits.stream_stall_s``."""


class StreamClosed(Exception):
    """The stream has ended during a ``send``; the receiving side has the reason."""


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
        """``message_bytes`` bounds one inbound message; None: as the connection's limits say."""
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

    # Called by the connection; never waits.

    def feed(self, data: bytes, flow_bytes: int) -> None:
        """Takes arrived DATA. If it breaks a rule, this stream fails and the connection stays.

        Raises ConnectionFailed when the peer sends too much for a stream that has failed.
        """
        if self.failure is not None:
            # Acknowledged here, because the handler may not notice the failure for long.
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

        Needed because a frame costs the same however little it holds: a message of 4 MiB, a byte in
        each frame, would keep this process busy for a minute.
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
        """The peer has ended its side; ``receive`` returns None after the last message."""
        self.ended = True
        self.notify()

    def fail(self, error: RpcError) -> None:
        """``receive`` raises ``error`` once the messages before it are taken. The first counts."""
        if self.failure is None:
            self.failure = error
            self._settle()
        self.notify()

    def _settle(self) -> None:
        """Counts what is held now, and returns the window of bytes that no handler waits for."""
        deframer = self._deframer
        if not deframer.ready:
            if self.failure is not None:
                deframer.clear()
            self._acknowledge(self._unacknowledged)
        self._hold(deframer.pending_bytes)

    def notify(self) -> None:
        """Wakes the tasks that wait in ``receive`` and ``send``; each looks again."""
        if self._arrived is not None:
            self._arrived.set()
        self.window_opened()

    def window_opened(self) -> None:
        """The peer accepts more now, so a waiting ``send`` looks again."""
        if self._writable is not None:
            self._writable.set()

    def release(self) -> None:
        """Drops the messages, and gives their bytes and window back to the connection."""
        self._deframer.clear()
        self._hold(0)
        self._acknowledge(self._unacknowledged)

    # Called by the call's tasks.

    async def receive(self) -> bytes | None:
        """The next message; None when the peer has ended its side.

        Raises RpcError: a rule was broken, or (client) the connection is gone.

        A call that must wait is a checkpoint. Where a message is there it is one in each
        ``Limits.sends_per_checkpoint`` (8) calls only, and otherwise no checkpoint. So a caller
        that computes for long with each message must add its own.

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
        """Sends one message; waits for the peer's windows and for room in the connection's buffer.

        Raises SendStalled, StreamClosed. Cancelled: an unknown part is sent, and only a
        reset or a status other than OK may follow.

        A call that must wait is a checkpoint. Where there is room it is one in each
        ``Limits.sends_per_checkpoint`` (8) calls only, and otherwise no checkpoint: no other task
        runs, and Cancelled is not raised.

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
        # Only every few operations, because a whole checkpoint costs more than a small message.
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
