"""The changes of one's own jobs, over any number of connections: each once, in order, none missed.

    from penstock.client import Endpoint, JobWatcher

    watcher = JobWatcher(Endpoint("127.0.0.1", 8443, ca, certificate, key))
    async with watcher.messages() as messages:
        async for message in messages:
            if not message.handle:
                ...  # the begin, or resync: list all jobs now
            else:
                ...  # message.state, message.job, message.removed

The first message has no change: the watch begins there, so a caller lists its jobs as it comes, and
then applies each change. A connection counts as lost as a Follower's does; then the watcher
reconnects and resumes behind the last change that it was sent. If the server cannot give every
change behind that, it sends ``resync``, and the caller lists again: told, never skipped.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from ..proto import command_pb2 as pb
from ..rpc.call_errors import ConnectionLost
from .client import Client
from .delivery import delivered
from .first_connection import CONNECT_S, Connect, Endpoint, connect
from .resumption import HEARTBEAT_S, News, Resumption
from .retry import GIVE_UP_S

MOST_HANDLES: Final = 100
"""So many jobs one request may name."""
TakeChange = Callable[[pb.WatchResponse], Awaitable[None]]


class JobWatcher:
    """Watches once: call ``deliver`` or ``messages``, and only one time. Ends by an error, or as
    its caller leaves, because there may always be another change.

    ``after``: resume behind this ``sequence`` of an earlier watch; None: from now on. From
    ``states`` to ``prefix``: which changes, as in ``Client.watch``; the server leaves out others,
    the watcher itself where there are more ``handles`` than a request may name.
    ``give_up_s``: how long to try after a loss; 0: not at all. The others are as a Follower's.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        after: int | None = None,
        states: Sequence[pb.JobState] = (),
        command: str = "",
        handles: Sequence[str] = (),
        name: str = "",
        labels: Mapping[str, str] | None = None,
        label_keys: Sequence[str] = (),
        prefix: str = "",
        give_up_s: float = GIVE_UP_S,
        heartbeat_s: float = HEARTBEAT_S,
        news: News | None = None,
        connecting: Connect = connect,
        connect_timeout_s: float = CONNECT_S,
    ) -> None:
        self.sequence = after
        """Where a later watch resumes that misses nothing, and has again no message that was dealt
        with: that ``take`` has returned from, or behind which the next one was asked for."""
        self._sent = after  # where our own next connection resumes
        self._undealt = 0
        self._states = states
        self._command = command
        self._handles = handles
        self._wanted = frozenset(handles if len(handles) > MOST_HANDLES else ())
        self._name = name
        self._labels = dict(labels or {})
        self._label_keys = label_keys
        self._prefix = prefix
        self._heartbeat_s = heartbeat_s
        self._resumption = Resumption[pb.WatchResponse](
            endpoint,
            give_up_s=give_up_s,
            heartbeat_s=heartbeat_s,
            news=news,
            connecting=connecting,
            connect_timeout_s=connect_timeout_s,
        )

    async def deliver(self, take: TakeChange, *, client: Client | None = None) -> None:
        """Calls ``take`` with each message, one at a time: the begin, changes, and ``resync``; not
        with heartbeats.

        ``client`` is a connection to begin with; it stays the caller's. Raises RpcError for what
        the server refuses, ConnectionLost when it has given up, what ``connect`` raises for our own
        files, and whatever ``take`` raises. Cancelled: minimum cleanup.

        Cancellation: minimum cleanup; C21, C63.
        """

        async def deal(message: pb.WatchResponse) -> None:
            await take(message)
            self._dealt(message)

        await self._deliver(deal, client=client)

    async def _deliver(self, take: TakeChange, *, client: Client | None = None) -> None:
        """As ``deliver``; but that a message was dealt with ``_dealt`` is told."""
        await self._resumption.over_connections(partial(self._read_changes, take), client)

    def messages(
        self, *, client: Client | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[pb.WatchResponse]]:
        """The messages of ``deliver`` to iterate over, whose errors iterating raises.

        One message is fetched ahead. A message counts as dealt with, for ``sequence``, once the
        next one is asked for. Waiting for that is atomic. Leaving the block ends the connection,
        minimum cleanup.
        """
        return delivered(partial(self._deliver, client=client), self._dealt)

    def _dealt(self, message: pb.WatchResponse) -> None:
        self._undealt -= 1
        self.sequence = message.sequence

    def _passed(self, sequence: int) -> None:
        """The server has looked so far, and has nothing for us up to there."""
        self._sent = sequence
        if not self._undealt:
            self.sequence = sequence

    async def _read_changes(self, take: TakeChange, client: Client) -> None:
        watched = client.watch(
            after=self._sent,
            states=self._states,
            command=self._command,
            handles=() if self._wanted else self._handles,
            name=self._name,
            labels=self._labels,
            label_keys=self._label_keys,
            prefix=self._prefix,
            heartbeat_s=self._heartbeat_s,
        )
        async with watched as call:
            first = await self._resumption.first(call)
            if first is not None:
                self._resumption.stands_at(first.sequence)
                if first.resync or not self._resumption.begun:
                    self._resumption.begun = True
                    await self._give(take, first)
                else:
                    self._passed(first.sequence)
                while (message := await self._resumption.next(call)) is not None:
                    if not message.heartbeat:
                        self._resumption.progress()
                    if message.heartbeat or self._is_of_another(message):
                        self._passed(message.sequence)
                    else:
                        await self._give(take, message)
        raise ConnectionLost("the server has ended the watch")

    async def _give(self, take: TakeChange, message: pb.WatchResponse) -> None:
        self._undealt += 1
        self._sent = message.sequence
        await self._resumption.give(take, message)

    def _is_of_another(self, message: pb.WatchResponse) -> bool:
        """Whether it is about a job that is not wanted, where these are too many for a request."""
        return bool(message.handle and self._wanted and message.handle not in self._wanted)
