"""Removes the files of forgotten jobs, in a thread: freeing a GiB takes a while.

The record of a job goes first, and what waits for its removal here stands in the records too, so
that a next server removes what this one did not.
"""

import contextlib
import os
import sqlite3
from typing import Final

import trio

from ..concurrency.interrupts import uninterrupted_methods
from .output.disk import Disk
from .store import Store

# Directories that wait for their removal in memory.
_MOST_UNWANTED: Final = 1000


@uninterrupted_methods
class FileRemovals:
    """The directories of one state directory's jobs that are to go, below ``outputs``."""

    def __init__(self, store: Store, outputs: str, disk: Disk) -> None:
        self._store = store
        self._outputs = outputs
        self._disk = disk
        self._unwanted, self._to_remove = trio.open_memory_channel[str](_MOST_UNWANTED)
        self._more_unwanted = False
        # A limiter of its own, so that a disk that stands still takes no thread from other work.
        self._limiter = trio.CapacityLimiter(1)

    def soon(self, job_id: str) -> None:
        """Removes the files of a job whose record is gone, or was never there. No checkpoint."""
        try:
            self._unwanted.send_nowait(job_id)
        except trio.WouldBlock:  # the records have them, and are read when the others are gone
            self._more_unwanted = True

    async def run(self) -> None:
        """Removes them one by one, until cancelled. What is left then, the next start removes.

        Cancellation: minimum cleanup; C44.
        """
        async for job_id in self._to_remove:
            forgotten = await self._remove(job_id)
            if forgotten and not self._to_remove.statistics().current_buffer_used:
                self._queue_more()

    def _queue_more(self) -> None:
        """Queues what had no room in the channel, as far as it has room now."""
        if self._more_unwanted:
            with contextlib.suppress(sqlite3.Error):  # else the next start does
                left = sorted(self._store.removed())
                self._more_unwanted = len(left) > _MOST_UNWANTED
                for job_id in left[:_MOST_UNWANTED]:
                    self._unwanted.send_nowait(job_id)

    async def _remove(self, job_id: str) -> bool:
        """Removes it, and returns whether that is recorded, too."""
        # Freeing a GiB takes a while.
        await trio.to_thread.run_sync(
            self._disk.remove_tree,
            os.path.join(self._outputs, job_id),
            abandon_on_cancel=True,
            limiter=self._limiter,
        )
        try:
            self._store.files_gone(job_id)
        except sqlite3.Error:  # the next start removes nothing again
            return False
        return True
