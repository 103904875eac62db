"""The table of changes: what became of which job and when, for watchers to read.

Theory of operation. A row is written in the very transaction that changes a job's record, so there
is no change without its row and no row without its change, whenever the server is killed.

*A sequence is never given twice.* It is the time in microseconds; while the clock is not past a
number that was given, that number and the microseconds since then; at least one more than the last.
So a number that was given and then lost, with the newest transactions (power) or with the whole
database, is behind all that are given later. Each loss of records that is noticed adds
change_rows._AHEAD_A_LOSS, because a clock may be wrong just then.

*A number to resume from is one that this table has given to this client*, which is looked up: its
own row, or in ``changes_before`` the newest of its rows that was pruned, or, if it has had none,
the number with which the table began (of owner ""). Behind any other number, rows may be missing:
of another life of the database, older than the table, made up. Its client must list (``resync``).
A client sees numbers of its own rows alone, and they grow with time, not with each change. So it
learns nothing of others' jobs, also while the clock is behind a number that it has given.

A life of the table ends when records were lost, a version that wrote no changes has used the
database (see database_file.py), a row is damaged (change_rows.py), or other jobs are left out than
before (job_recovery.py): ``begin_life`` forgets every row, so that each watcher must list.

*It is bounded*, by number and age, and pruned in slices of _PRUNED_AT_ONCE after the transactions
that add to it, each in a transaction of its own; more goes than comes.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import Final, cast

from .change_rows import What, are_whole, begin_life, clock, is_row, newest_number
from .reporting import say
from .transactions import transaction

MOST_CHANGES: Final = 100_000
MOST_AGE_S: Final = 7 * 86_400.0
MOST_BEHIND: Final = 10_000
"""A watcher that is further behind is told to list instead of reading all of it."""

_PRUNED_AT_ONCE: Final = 32
# Changes from one look to the next.
_PRUNED_EVERY: Final = 16
_GREATEST: Final = 2**63 - 1  # of SQLite's integers


@dataclass(frozen=True, slots=True)
class Change:
    """One row. ``job_id`` is the job's own id; the job may be gone."""

    sequence: int
    job_id: str
    handle: str
    what: What
    time_ns: int


class ChangeTable:
    """The table in an open database. All methods are plain functions: no checkpoint."""

    def __init__(self, connection: Callable[[], sqlite3.Connection], losses: int) -> None:
        """``connection`` gives the one that is open now. Raises sqlite3.Error."""
        self.on_changed: Callable[[str], None] = lambda owner: None
        """Called with the owner of each change, once it is committed. Must not block or raise."""
        self.written = 0
        """How many changes there were since the table was opened."""
        self._connection = connection
        self._losses = losses
        self._newest = newest_number(connection())
        # A number that was now, and when: while the clock is behind it, its own count of time.
        self._now, self._now_at_ns = self._newest, monotonic_ns()
        self._since_pruned = 0
        self._uncommitted: list[str] = []
        self._begun_anew = False
        self._damaged = not are_whole(connection())
        (self._rows,) = connection().execute("SELECT count(*) FROM changes").fetchone()
        if self._damaged:
            with contextlib.suppress(sqlite3.OperationalError):  # such as a full disk
                self._prune_in_a_transaction()

    # Writing: in the transaction of the change.

    def write(self, job_id: str, what: What) -> None:
        """A row for this change of a job's record; none for a job that never had a handle, because
        no client knows of it."""
        now_ns = time.time_ns()
        self._newest = max(self._newest + 1, self._clock())
        owner = self._connection().execute(
            "INSERT INTO changes SELECT ?, owner, id, handle, ?, ? FROM jobs"
            " WHERE id = ? AND handle IS NOT NULL RETURNING owner",
            (self._newest, what, now_ns, job_id),
        )
        self._uncommitted += [str(row[0]) for row in owner.fetchall()]

    def _clock(self) -> int:
        at_ns = monotonic_ns()
        passed, now = (at_ns - self._now_at_ns) // 1000, clock(self._losses)
        if now > self._now + passed:
            self._now, self._now_at_ns = now, at_ns
            return now
        return self._now + passed

    def lost(self, losses: int, *, least: int = 0) -> None:
        """Records were lost, so many times by now: each watcher must list."""
        self._losses = losses
        self._newest = begin_life(self._connection(), losses=losses, least=least)
        self._now, self._now_at_ns = self._newest, monotonic_ns()
        self._begun_anew = True

    def begin_anew(self) -> None:
        """Rows are missing though no record was lost: each watcher must list. In the caller's
        transaction."""
        self.lost(self._losses)

    def committed(self) -> None:
        """The transaction is durable: watchers are woken, and old rows pruned if there are some.
        Never raises, because the change has happened."""
        owners, self._uncommitted = self._uncommitted, []
        self._rows = len(owners) + (0 if self._begun_anew else self._rows)
        self._begun_anew = False
        self.written += len(owners)
        for owner in owners:
            self.on_changed(owner)
        self._since_pruned += len(owners)
        if self._since_pruned >= _PRUNED_EVERY:
            self._since_pruned = 0
            self.prune()

    def rolled_back(self) -> None:
        """The transaction has not happened. The numbers that it took are left out."""
        self._uncommitted = []
        self._begun_anew = False

    def prune(self) -> None:
        """Removes a slice of the rows that are too many or too old, in a transaction of its own;
        all of them if one is damaged. Where that is not possible now, a later call does it. Never
        raises."""
        with contextlib.suppress(sqlite3.Error):
            self._prune_in_a_transaction()

    def _prune_in_a_transaction(self) -> None:
        db = self._connection()
        with transaction(db, self.rolled_back):
            pruned = self._prune(db)
        if self._begun_anew:
            say("changes of jobs were damaged: all are forgotten, and watchers list")
        self._rows = 0 if self._begun_anew else self._rows - pruned
        self._begun_anew = self._damaged = False

    def _prune(self, db: sqlite3.Connection) -> int:
        too_many = max(0, self._rows - MOST_CHANGES)
        now_ns, age_ns = time.time_ns(), int(MOST_AGE_S * 1e9)
        rows = db.execute(
            "SELECT sequence, owner, time_ns FROM changes ORDER BY sequence LIMIT ?",
            (_PRUNED_AT_ONCE,),
        ).fetchall()
        if self._damaged or not all(is_row(sequence, owner) for sequence, owner, _ in rows):
            self.begin_anew()
            return 0
        newest_pruned: dict[str, int] = {}
        pruned = 0
        for sequence, owner, time_ns in rows:
            # One of the far future, by damage or a wrong clock, would keep all behind it.
            is_young = isinstance(time_ns, int) and abs(now_ns - time_ns) <= age_ns
            if pruned >= too_many and is_young:
                break  # behind it none goes, whatever the clock said as they were written
            newest_pruned[owner] = sequence
            pruned += 1
        if pruned:
            db.execute("DELETE FROM changes WHERE sequence <= ?", (max(newest_pruned.values()),))
            db.executemany(
                "INSERT OR REPLACE INTO changes_before VALUES (?, ?)", newest_pruned.items()
            )
        return pruned

    # Reading.

    def begin_of(self, owner: str) -> int:
        """The number from which a client watches that wants what comes from now on."""
        row = self._connection().execute(
            "SELECT max(sequence) FROM changes WHERE owner = ?", (owner,)
        )
        (newest,) = row.fetchone()
        return self._checked(newest, owner) if newest is not None else self._before(owner)

    def can_resume(self, owner: str, after: int) -> bool:
        """Whether this table has given that number to this client, and still has every change of
        the client's jobs behind it."""
        if after > _GREATEST:
            return False
        if after == self._before(owner):
            return True
        found = self._connection().execute(
            "SELECT 1 FROM changes WHERE owner = ? AND sequence = ?", (owner, after)
        )
        return found.fetchone() is not None

    def has_all(self, owner: str, after: int) -> bool:
        """Whether no change behind ``after``, a number of this client's, was pruned."""
        return self._before(owner) <= after

    def near_until(self, owner: str, after: int) -> int | None:
        """Up to how many ``written`` the client cannot be more than MOST_BEHIND changes behind, if
        it stays at ``after``; None if it is that now. Takes a millisecond or two where there are
        many."""
        found = self._connection().execute(
            "SELECT count(*) FROM (SELECT 1 FROM changes WHERE owner = ? AND sequence > ?"
            " ORDER BY sequence LIMIT ?)",
            (owner, after, MOST_BEHIND + 1),
        )
        behind = int(found.fetchone()[0])
        return None if behind > MOST_BEHIND else self.written + MOST_BEHIND - behind

    def read(self, owner: str, after: int, most: int) -> Sequence[Change]:
        """The client's next changes behind ``after``, in order; ``what`` may be any text in a row
        that is damaged."""
        rows = self._connection().execute(
            "SELECT sequence, job, handle, what, time_ns FROM changes"
            " WHERE owner = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            (owner, after, most),
        )
        return [
            Change(
                self._checked(sequence, owner),
                str(job_id),
                str(handle),
                cast(What, what),
                time_ns if isinstance(time_ns, int) else 0,
            )
            for sequence, job_id, handle, what, time_ns in rows
        ]

    def _before(self, owner: str) -> int:
        rows = self._connection().execute(
            "SELECT sequence FROM changes_before WHERE owner IN (?, '')", (owner,)
        )
        return max([self._checked(sequence, owner) for (sequence,) in rows.fetchall() or [(None,)]])

    def _checked(self, sequence: object, owner: str) -> int:
        """Raises sqlite3.DatabaseError for what no write has left there, until prune mends it."""
        self._damaged = self._damaged or not is_row(sequence, owner)
        if self._damaged:
            raise sqlite3.DatabaseError("changes of jobs are damaged, and are soon forgotten")
        return cast(int, sequence)
