"""One thread's events: descriptors by epoll, and timers on the monotonic clock."""

import heapq
import itertools
import select
import time
from collections.abc import Callable
from typing import Final

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
PRIORITY: Final = select.EPOLLPRI

Callback = Callable[[], None]


class Timer:
    """A call in the future; cancel may be called at any time, also afterwards."""

    def __init__(self, callback: Callback) -> None:
        self._callback: Callback | None = callback

    def cancel(self) -> None:
        """It will not be called any more."""
        self._callback = None

    def fire(self) -> None:
        """Calls it once, unless cancelled."""
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
        self._running = False

    def watch(self, fd: int, events: int, callback: Callback) -> None:
        """Calls ``callback`` while ``fd`` is ready for ``events``; again replaces."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def forget(self, fd: int) -> None:
        """Must be called before ``fd`` is closed. Not watched is fine."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def after(self, seconds: float, callback: Callback) -> Timer:
        """Calls back once in so many seconds."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def stop(self) -> None:
        """``run`` returns after the callback under way."""
        self._running = False

    def run(self) -> None:
        """Until ``stop``. An exception of a callback ends the run and passes."""
        self._running = True
        while self._running:
            timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for fd, _ in self._epoll.poll(timeout):
                # One callback may have forgotten a descriptor that is later in this batch.
                callback = self._callbacks.get(fd)
                if callback is not None and self._running:
                    callback()
            while self._timers and self._running and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2].fire()
