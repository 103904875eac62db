"""One slice at a time, and clients one after another: which one has the event loop's next turn.

Theory of operation. Work that takes milliseconds is cut into slices, and only one of all slices is
done in a turn of Trio's scheduler, so that a small call waits for one of them at most. A
``trio.Lock`` does that too, but in the order of asking: one client with a hundred messages, or with
128 connections, would make every other client's large message wait for all of them. So each client
has a queue of its own here, and the queues take turns.

A turn is handed over and never freed in between: the task that gives it back wakes the next one,
which runs in the next turn of the scheduler. So two slices are never in one turn.

Little work needs no turn, because a turn costs more than the work. But a little from each of a
hundred connections is much, so work without a turn has a bound for all of them together: a share of
the time.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from time import perf_counter
from types import TracebackType
from typing import Final

import trio

# Without a turn: a quarter of the time, and so much at once.
_SHARE: Final = 0.25
_AT_ONCE_S: Final = 0.002


class FairTurns:
    """Slices of work of several clients. For ``async with turns.of(client)``."""

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        """``clock`` gives seconds; time's perf_counter, if it is left out."""
        self._clock = clock or perf_counter
        self._free_s = _AT_ONCE_S
        self._free_at = self._clock()
        self._taken = False
        self._waiting: OrderedDict[Hashable, trio.lowlevel.ParkingLot] = OrderedDict()
        """Clients in the order of their next turn; none without a task that waits."""

    def of(self, client: Hashable) -> "_Turn":
        """Makes the block one slice of this client's. The block must have no checkpoint.

        Code behind the block runs in the same turn of the scheduler up to its next checkpoint.
        """
        return _Turn(self, client)

    def at_once(self, work: Callable[[], None]) -> bool:
        """Does ``work`` now, without a turn. False: the share is used up, so it was not done.

        ``work`` may take more time than was left; later calls have that much less.
        """
        begin = self._clock()
        self._free_s = min(_AT_ONCE_S, self._free_s + _SHARE * (begin - self._free_at))
        self._free_at = begin
        if self._free_s <= 0:
            return False
        try:
            work()
        finally:
            self._free_s -= self._clock() - begin
        return True

    async def acquire(self, client: Hashable) -> None:
        """Returns in a turn of the scheduler that has no other slice. The caller then releases.

        Cancellation: atomic.
        """
        if not self._taken:
            self._taken = True
            try:
                await trio.lowlevel.checkpoint()
            except BaseException:
                self.release()
                raise
            return
        queue = self._waiting.get(client)
        if queue is None:
            queue = self._waiting[client] = trio.lowlevel.ParkingLot()
        try:
            await queue.park()
        except BaseException:
            # Only a cancelled task comes here, because one that got the turn returned from park().
            if not queue and self._waiting.get(client) is queue:
                del self._waiting[client]
            raise

    def release(self) -> None:
        """The turn goes to the client that has waited longest for one."""
        while self._waiting:
            client, queue = self._waiting.popitem(last=False)
            # A cancelled task leaves its queue at once, but removes the queue only when it runs
            # next. Until then the queue may be empty, and must not get the turn, because no task
            # would pass it on.
            if queue.unpark():
                if queue:
                    self._waiting[client] = queue  # behind all other clients
                return
        self._taken = False


class _Turn:
    """The context manager of FairTurns.of: acquires on entry, releases on exit."""

    __slots__ = ("_client", "_turns")

    def __init__(self, turns: FairTurns, client: Hashable) -> None:
        self._turns = turns
        self._client = client

    async def __aenter__(self) -> None:
        await self._turns.acquire(self._client)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turns.release()
