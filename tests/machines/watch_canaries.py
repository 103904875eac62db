"""Planted bugs by which a watcher misses something, or is not told that it does."""

import contextlib
from collections.abc import Iterator, Sequence

from penstock.jobs.change_reader import ChangeReader
from penstock.jobs.change_rows import What
from penstock.jobs.change_table import Change, ChangeTable
from penstock.jobs.end_record import EndRecord
from penstock.jobs.store import Store

from .planting import instead


@contextlib.contextmanager
def skipped_change() -> Iterator[None]:
    """A watcher that looks for more stands a change further than the last that it was given, if it
    was given several at once."""
    true = ChangeReader.look

    def look(self: ChangeReader, most: int) -> Sequence[Change]:
        found = true(self, most)
        return [*found[:1], *found[2:]] if len(found) > 2 else found

    with instead(ChangeReader, "look", look):
        yield


@contextlib.contextmanager
def late_change() -> Iterator[None]:
    """The row of an end is written after the transaction that records it, in one of its own."""
    true, true_write = Store.set_finished, ChangeTable.write

    def write(self: ChangeTable, job_id: str, what: What) -> None:
        if what != "finished":
            true_write(self, job_id, what)

    def set_finished(self: Store, job_id: str, end: EndRecord) -> None:
        true(self, job_id, end)
        with self._transaction():
            true_write(self.changes, job_id, "finished")

    with instead(Store, "set_finished", set_finished), instead(ChangeTable, "write", write):
        yield


@contextlib.contextmanager
def unasked_watch() -> Iterator[None]:
    """A number to resume from is taken as it is, though changes behind it are not there any
    more."""

    def can_resume(self: ChangeTable, owner: str, after: int) -> bool:
        return True

    def has_all(self: ChangeTable, owner: str, after: int) -> bool:
        return True

    with (
        instead(ChangeTable, "can_resume", can_resume),
        instead(ChangeTable, "has_all", has_all),
    ):
        yield
