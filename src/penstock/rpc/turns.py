"""One at a time, and clients one after another: who may use the next turn of the event loop.

Theory of operation. What costs milliseconds is cut into slices, and of all slices one is done in
a turn of Trio's scheduler, so that whoever asks for little waits for one of them at most. A
``trio.Lock`` does that too, but in the order of asking: a client with a hundred messages, or with
128 connections, would have everybody else's large message wait for all of them. Here each client
has a queue of its own, and the queues take turns.

A turn is handed over, never freed in between: whoever gives it back wakes the next, which runs in
the next turn of the scheduler. So two slices are never in one.

Little work needs no turn, as one costs more. But little from each of a hundred connections is
much, and so what is done without a turn has a bound for all of them together: a share of the time.
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
        """The block is one slice of this client's; it may not wait for anything.

        What follows the block up to the next checkpoint is in the same turn of the scheduler.
        """
        return _Turn(self, client)

    def at_once(self, work: Callable[[], None]) -> bool:
        """Does ``work`` now, without a turn; False, and it is not done: there was enough of that.

        What it takes may be more than there was, and is missing afterwards.
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
        """Returns in a turn of the scheduler in which no other slice is. ``release`` follows.

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
            # Woken is not cancelled: whoever was given the turn has returned from park().
            if not queue and self._waiting.get(client) is queue:
                del self._waiting[client]
            raise

    def release(self) -> None:
        """The turn goes to the client that has waited longest for one."""
        while self._waiting:
            client, queue = self._waiting.popitem(last=False)
            # Who was cancelled has left its queue at once, and removes that when it runs next:
            # until then there may be a queue of nobody, who could not pass the turn on.
            if queue.unpark():
                if queue:
                    self._waiting[client] = queue  # behind everybody else
                return
        self._taken = False


class _Turn:
    """One ``async with`` of FairTurns.of."""

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
