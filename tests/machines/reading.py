"""What one reader of a job's output must see: each byte once, in order, and soon."""

from collections.abc import Collection
from typing import Final

import trio

from penstock.proto import command_pb2 as pb

from .endings import may_be_a_gap
from .invariants import Invariants
from .world import World

# From the pipe to the reader, when nothing holds it up, beside three times the network's latency:
# a window that is full opens after two of them.
_SOON_S: Final = 0.5


def disturbed_at(world: World) -> float:
    """Until when something has kept messages from whom they were for."""
    last = world.timeline.last("fault", "server", "network", "world")
    return max(last, world.network.silent_until)


class Reading:
    """``streams``: those that it wants, none for all; then there are holes in what it sees.
    ``slow_s``: what it takes for each message."""

    def __init__(
        self,
        check: Invariants,
        job_id: str,
        handle: str,
        *,
        streams: Collection[int],
        slow_s: float,
    ) -> None:
        self.connected_at = trio.current_time()
        self._world = check.world
        self._check = check
        self._group = check.world.kernel.groups[job_id]
        self._handle = handle
        self._streams = streams
        self._slow_s = slow_s
        self._offset = 0
        self._told_at = -float("inf")

    def take(self, message: pb.StreamOutputResponse) -> None:
        """The next chunk, gap or end, as it comes."""
        world, begin, end = self._world, message.offset, message.next_offset
        if begin < self._offset or (begin > self._offset and not self._streams):
            world.fail(f"a reader of job {self._handle} is at {self._offset}, and sees {begin}")
        if any(stream in self._group.owners[self._offset : begin] for stream in self._streams):
            world.fail(
                f"a reader of job {self._handle} sees nothing of {self._offset} to {begin}, where "
                f"there is something of {list(self._streams)}"
            )
        reason = message.gap.reason
        removed = self._handle in self._check.removed
        if reason and not may_be_a_gap(world, reason, removed=removed):
            world.fail(
                f"job {self._handle}: a reader is told of a gap ({reason}) that has no reason"
            )
        self._offset = max(self._offset, end)
        now = trio.current_time()
        if message.data:
            could = max(
                self._group.moved_at(begin),
                self._told_at + self._slow_s,
                self.connected_at,
                disturbed_at(world),
            )
            if now > could + 3 * world.program.latency + _SOON_S:
                late = now - could
                world.fail(f"job {self._handle}: byte {begin} reaches a reader {late:g} s late")
        self._told_at = now
