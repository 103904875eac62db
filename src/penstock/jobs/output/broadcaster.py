"""The broadcaster: wakes every reader of a job's output, and waits for none of them.

Theory of operation. A job has one reader task for each of its pipes (capture.py) and any number of
readers of its log (reader.py). Trio's memory channels do not broadcast: what is sent to one goes to
one receiver. So each reader has a memory channel of its own, and ``notify`` puts a wake-up in each.

*No data travels in the channels.* The log on disk is the one truth, and each reader has a cursor in
it. Data in the channels would need an unbounded buffer for the slowest client, or otherwise make
the reader task wait for that client and so stop the job, or lose bytes unnoticed. A wake-up has
no content; nothing is lost if two become one. That is why ``notify`` never waits and never fails.

*Capacity 1, because a reader looks and then waits.* It looks at the log's ``length`` and ``ended``
and, if there is nothing new, receives. With capacity 0, ``send_nowait`` is refused unless the
receiver is waiting already, so a wake-up between the look and the wait would be lost. With 1 it
stays in the channel and the wait returns at once. A second one would be no news: the reader that
takes the first has not looked yet, and sees all that has happened by then.

*What a lossy wake-up promises.* The writer changes the log first and notifies then. So after each
``notify`` every subscribed reader looks at the log at least once more, and sees that change. It may
also be woken for nothing, and look again. A reader therefore subscribes before its first look, and
never takes a wake-up away without looking after it: that bug is planted as ``lost_wakeup`` in
tests/machines/canaries.py, to see that the simulation finds it.

*The reader closes its channel*, both ends of it, by ``WakeUps.close``, which has no checkpoint and
so works for a cancelled reader too. The broadcaster closes none: the end of a log is its ``ended``,
announced by a wake-up as any other change, and a closed channel would be a second truth about it.
``notify`` does not run any reader, it only makes them runnable, so none can subscribe or close
while it goes through them.
"""

import trio


class Broadcaster:
    """Wakes the readers of one log. No call has a checkpoint, and none fails."""

    def __init__(self) -> None:
        self._senders: set[trio.MemorySendChannel[None]] = set()

    @property
    def readers(self) -> int:
        """How many readers are subscribed, for statistics and tests."""
        return len(self._senders)

    def subscribe(self) -> "WakeUps":
        """The wake-ups of one reader, which must close them. Earlier ones are not repeated, so the
        reader subscribes before its first look."""
        send, receive = trio.open_memory_channel[None](1)
        self._senders.add(send)
        return WakeUps(self, send, receive)

    def notify(self) -> None:
        """Wakes every reader, because there is more or the log has ended. Never waits."""
        for sender in self._senders:
            try:
                sender.send_nowait(None)
            except trio.WouldBlock:  # one is waiting there, and that is enough
                continue

    def remove(self, sender: trio.MemorySendChannel[None]) -> None:
        """Sends this reader no more wake-ups. Idempotent."""
        self._senders.discard(sender)


class WakeUps:
    """The wake-ups of one reader, which alone may wait for them and close them."""

    __slots__ = ("_broadcaster", "_receive", "_send")

    def __init__(
        self,
        broadcaster: Broadcaster,
        send: trio.MemorySendChannel[None],
        receive: trio.MemoryReceiveChannel[None],
    ) -> None:
        self._broadcaster = broadcaster
        self._send = send
        self._receive = receive

    async def wait(self) -> None:
        """Returns when the log may have changed since the last call. The reader must look then.

        Cancellation: atomic; C1.
        """
        await self._receive.receive()

    def close(self) -> None:
        """Ends the subscription. No checkpoint, so a cancelled reader can call it. Idempotent."""
        self._broadcaster.remove(self._send)
        self._send.close()
        self._receive.close()
