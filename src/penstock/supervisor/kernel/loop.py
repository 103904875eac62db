"""One thread's events: descriptors by epoll, and timers on the monotonic clock.

Theory of operation. The supervisor has one thread and no Trio, because the process that has root
must be small enough to be read whole, and because a fork beside other threads is the trouble that
it exists to avoid. So everything in it is a callback: a descriptor is ready, or a timer is due.
Three rules follow.

- A callback does not wait. What could (a disk, a child's end) is left to a child process, whose end
  or whose pipe is one more descriptor here. The one wait that is left has a bound: a new client's
  user must be on the disk before its first job starts (users/user_table.py, WRITE_S).
- A callback may change everything, so the loop trusts nothing from before it. An earlier callback
  of the same batch may have closed a descriptor of this one, and the kernel may have given its
  number to another. That is why ``run`` compares callbacks, not numbers, and why ``forget`` comes
  before ``close``.
- Nothing interrupts a callback. Signals arrive by a descriptor as well (signal_events.py).

A timer that is cancelled stays in the heap until it is due, because to find it there would cost a
search. When cancelled ones are half of the heap they are dropped; otherwise a host that ends
thousands of jobs, each with a timeout of a day, would keep all of their timers for that day.

An exception of a callback ends ``run`` and with it the supervisor, on purpose: a supervisor that
has a bug ends its jobs (daemon.py) instead of losing count of them.
"""

import heapq
import itertools
import select
import time
from collections.abc import Callable
from typing import Final

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
PRIORITY: Final = select.EPOLLPRI

# epoll_wait(2) takes milliseconds in an int, which 25 days overflow; a job may have longer.
_LONGEST_WAIT_S: Final = 3600.0
# Cancelled timers are dropped from the heap when there are this many, and they are half of all.
_MANY_CANCELLED: Final = 256

Callback = Callable[[], None]


class Timer:
    """A call in the future; cancel may be called at any time, also afterwards."""

    def __init__(self, callback: Callback, on_cancelled: Callback) -> None:
        self._callback: Callback | None = callback
        self._on_cancelled = on_cancelled

    @property
    def pending(self) -> bool:
        """Is it neither fired nor cancelled?"""
        return self._callback is not None

    def cancel(self) -> None:
        """The callback will not be called any more."""
        if self._callback is not None:
            self._callback = None
            self._on_cancelled()

    def fire(self) -> None:
        """Calls the callback, unless it was called or cancelled before. The loop's to use."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Loop:
    """Calls back until stopped. Nothing here blocks but the wait for the next event."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._cancelled = 0
        self._running = False

    def watch(self, fd: int, events: int, callback: Callback) -> None:
        """Calls ``callback`` while ``fd`` is ready for ``events``.

        For a descriptor that is watched already, both are replaced.
        """
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Must be called before ``fd`` is closed. Does nothing for one that is not watched."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, seconds: float, callback: Callback) -> Timer:
        """Calls back once in so many seconds."""
        timer = Timer(callback, self._count_cancelled)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def stop(self) -> None:
        """``run`` returns after the callback under way."""
        self._running = False

    def run(self) -> None:
        """Until ``stop``. An exception of a callback ends the run and passes."""
        self._running = True
        while self._running:
            timeout = self._timers[0][0] - time.monotonic() if self._timers else _LONGEST_WAIT_S
            ready = self._epoll.poll(min(max(0.0, timeout), _LONGEST_WAIT_S))
            for fd, callback in [(fd, self._callbacks.get(fd)) for fd, _ in ready]:
                # A callback may have forgotten a descriptor that is later in this batch, and
                # its number may even be watched for something else by now.
                if callback is not None and self._running and self._callbacks.get(fd) is callback:
                    callback()
            while self._timers and self._running and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2].fire()

    def _count_cancelled(self) -> None:
        self._cancelled += 1
        if self._cancelled > _MANY_CANCELLED and self._cancelled > len(self._timers) // 2:
            self._timers = [entry for entry in self._timers if entry[2].pending]
            heapq.heapify(self._timers)
            self._cancelled = 0
