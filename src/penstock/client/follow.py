"""A job's output to its end, over any number of connections: every byte once, and checked.

    from penstock.client import Endpoint, Follower

    follower = Follower(Endpoint("127.0.0.1", 8443, ca, certificate, key), "48213")
    async with follower.messages() as messages:
        async for message in messages:
            ...  # message.data, or message.gap: in order, without a hole
    print(follower.end, follower.verdict)

When a connection is lost (resumption.py) the follower reconnects, and the stream resumes at the
byte after the last one. An error that no retry mends (a refusal, a certificate, broken output) ends
it at once instead.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from ..proto import command_pb2 as pb
from .client import Client
from .delivery import delivered
from .first_connection import CONNECT_S, Connect, Endpoint, connect
from .resumption import HEARTBEAT_S, News, Resumption
from .retry import GIVE_UP_S
from .verify import DigestMismatch, EndMissing, OutputBroken, OutputVerdict, Received

__all__ = [
    "DigestMismatch",
    "EndMissing",
    "Follower",
    "OutputBroken",
    "OutputVerdict",
    "Part",
]

Take = Callable[[pb.StreamOutputResponse], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which part of the output. At most one of the first three: a byte offset, so many lines
    before the end (0: what is new), or what was written since a time (UTC nanoseconds since
    1970)."""

    offset: int = 0
    tail_lines: int | None = None
    since_ns: int = 0
    streams: tuple[pb.Stream, ...] = ()
    """These alone; empty for all."""
    follow: bool = True
    """To the job's end; False: to the end of what is there."""


class Follower:
    """Follows one job once: call ``deliver`` or ``messages``, and only one time.

    ``give_up_s``: how long to try after a loss without anything new; 0: not at all. For the first
    connection ``connecting`` tries, for ``connect_timeout_s`` (``penstock.client.connect``); if it
    fails there is no retry. ``heartbeat_s``: seconds between the server's heartbeats on a stream
    without output; 0: none, so that silence is no loss.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        handle: str,
        part: Part = Part(),
        *,
        give_up_s: float = GIVE_UP_S,
        heartbeat_s: float = HEARTBEAT_S,
        news: News | None = None,
        connecting: Connect = connect,
        connect_timeout_s: float = CONNECT_S,
    ) -> None:
        self.end: pb.EndRecord | None = None
        """How the job ended, once its last message is given."""
        self.verdict = OutputVerdict(False, "the job has not ended")
        self._handle = handle
        self._part = part
        self._heartbeat_s = heartbeat_s
        self._resumption = Resumption[pb.StreamOutputResponse](
            endpoint,
            give_up_s=give_up_s,
            heartbeat_s=heartbeat_s,
            news=news,
            connecting=connecting,
            connect_timeout_s=connect_timeout_s,
        )
        begins = None if part.tail_lines is not None or part.since_ns else part.offset
        self._received = Received(begins, part.streams)

    @property
    def job(self) -> pb.Job | None:
        """The job as it was when the stream began; None before."""
        return self._received.job

    async def deliver(self, take: Take, *, client: Client | None = None) -> None:
        """Calls ``take`` with each message, one at a time: first the job, then chunks and gaps,
        last the end record. Returns after it (or, not following, at the end of what is there).

        ``client`` is a connection to begin with; it stays the caller's. Raises RpcError for
        what the server refuses, ConnectionLost when it has given up, OutputBroken if what came
        is not the output, what ``connect`` raises for our own files, and whatever ``take``
        raises. Cancelled: minimum cleanup; the job runs on.

        Cancellation: minimum cleanup; C21.
        """
        await self._resumption.over_connections(partial(self._stream, take), client)

    def messages(
        self, *, client: Client | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[pb.StreamOutputResponse]]:
        """The messages of ``deliver`` to iterate over, whose errors iterating raises.

        One message is fetched ahead. Waiting for the next one is atomic: cancelled, none is
        lost. Leaving the block ends the connection, minimum cleanup.
        """
        return delivered(partial(self.deliver, client=client))

    async def _stream(self, take: Take, client: Client) -> None:
        part, received = self._part, self._received
        fresh = self.job is None
        async with client.stream(
            self._handle,
            offset=part.offset if fresh else received.next_offset,
            tail_lines=part.tail_lines if fresh else None,
            since_ns=part.since_ns if fresh else 0,
            streams=part.streams,
            follow=part.follow,
            heartbeat_s=self._heartbeat_s,
        ) as call:
            first = await self._resumption.first(call)
            if first is None:
                raise EndMissing("the stream ended before it had begun")
            received.begin(first)
            self._resumption.begun = True
            self._resumption.stands_at(received.next_offset)
            if fresh:
                await self._resumption.give(take, first)
            while (message := await self._resumption.next(call)) is not None:
                kind = received.take(message)
                self._resumption.progress()
                if kind == "finished":
                    self.verdict = received.verdict(message.finished)
                    self.end = message.finished
                    await self._resumption.give(take, message)
                    return
                if kind in ("data", "gap"):
                    await self._resumption.give(take, message)
        if part.follow:
            raise EndMissing("the stream ended before the job did")
