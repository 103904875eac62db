"""Readers of the changes of one client's jobs: each a cursor of its own on the table of changes.

As readers of output are (output/broadcaster.py): what is in the table is the one truth, a reader is
a number in it, and what wakes it has no content. So a slow reader costs a number, and makes neither
the job nor another reader wait. It looks first and waits then; it subscribes before its first look,
so that no wake-up is lost.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Self

import trio

from ..concurrency.interrupts import uninterrupted_methods
from .change_table import Change, ChangeTable
from .job_errors import Unavailable
from .output.broadcaster import Broadcaster
from .reporting import say


class ChangeReaders:
    """The readers of one manager. No method has a checkpoint."""

    def __init__(self, table: ChangeTable) -> None:
        self.ended = False
        """No change comes any more, because the manager has closed."""
        self._table = table
        self._broadcasters: dict[str, Broadcaster] = {}
        table.on_changed = self._changed

    def open(self, owner: str, after: int | None) -> "ChangeReader":
        """As Manager.watch."""
        broadcaster = self._broadcasters.setdefault(owner, Broadcaster())
        return ChangeReader(self, self._table, broadcaster, owner, after)

    def end(self) -> None:
        """Every reader ends, once it has read what is there."""
        self.ended = True
        for broadcaster in self._broadcasters.values():
            broadcaster.notify()

    def _changed(self, owner: str) -> None:
        if owner in self._broadcasters:
            self._broadcasters[owner].notify()


@uninterrupted_methods
class ChangeReader:
    """The changes of one client's jobs behind a number, in order, each once.

        if reader.must_list(): ...      # some were skipped: list, and read on
        for change in reader.look(25): reader.passed(change)
        if not await reader.wait_changed(): ...     # the manager has ended

    ``position`` is the number of the last one, to resume from. The owner must ``close`` it.
    """

    def __init__(
        self,
        readers: ChangeReaders,
        table: ChangeTable,
        broadcaster: Broadcaster,
        owner: str,
        after: int | None,
    ) -> None:
        """Begins behind ``after``, or now for None. Raises Unavailable."""
        self._readers = readers
        self._table = table
        self._owner = owner
        self._near_until = -1
        """As long as the table has had no more changes, it is not far behind."""
        with _translated():
            self._skipped = after is not None and not table.can_resume(owner, after)
            known = after is not None and not self._skipped
            self.position = after if known and after is not None else table.begin_of(owner)
        self._wakeups = broadcaster.subscribe()

    def must_list(self) -> bool:
        """Whether changes were skipped since the last call: those behind ``after`` cannot be had,
        or this reader was too far behind. It then stands at the end of the table, and its client
        must list. Raises Unavailable."""
        with _translated():
            if not self._table.has_all(self._owner, self.position) or self._is_far_behind():
                self.position = self._table.begin_of(self._owner)
                self._skipped = True
        skipped, self._skipped = self._skipped, False
        return skipped

    def _is_far_behind(self) -> bool:
        """Counts only if so many changes were written since the last count that it may be."""
        if self._table.written <= self._near_until:
            return False
        near_until = self._table.near_until(self._owner, self.position)
        self._near_until = -1 if near_until is None else near_until
        return near_until is None

    def look(self, most: int) -> Sequence[Change]:
        """The next changes, at most so many; none where there are none now. Call it right after
        ``must_list``, without a checkpoint between them. Raises Unavailable."""
        with _translated():
            return self._table.read(self._owner, self.position, most)

    def passed(self, change: Change) -> None:
        """This change was dealt with: the reader stands behind it."""
        self.position = change.sequence

    async def wait_changed(self) -> bool:
        """Returns when there may be changes since the last look; False if the manager has closed.

        Cancellation: atomic; C63.
        """
        if self._readers.ended:
            await trio.lowlevel.checkpoint()
        else:
            await self._wakeups.wait()
        return not self._readers.ended

    def close(self) -> None:
        """Frees the subscription. Idempotent; no checkpoint."""
        self._wakeups.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        say(f"changes cannot be read: {error}")
        raise Unavailable("changes cannot be read now; the server's log says why") from error
