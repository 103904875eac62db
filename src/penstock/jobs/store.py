"""Records that survive: jobs, handles, request ids, in SQLite.

Durable here means against SIGKILL of server and supervisor: WAL with synchronous=NORMAL. Every
call is one synchronous transaction of well under a millisecond, so that no decision is split by a
checkpoint. None waits for another program's lock: it raises OperationalError at once instead. Only
the holder of the state directory's lock may open it.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from typing import Final

from ..supervisor.ipc.started import Started
from .backends.base import JobSpec
from .change_rows import NEWEST
from .change_table import ChangeTable
from .database_file import LOCK_PATIENCE_S, connect_database, identity_of, open_database
from .database_reserve import DatabaseReserve
from .end_record import EndRecord
from .job_rows import DAMAGE, DamagedRecord, JobRecord, read_row, spec_text, started_text
from .reporting import say
from .transactions import transaction

_SUFFIXES_A_LOSS: Final = 1_000_000


class Store:
    """The open database. All methods are plain functions: no checkpoint."""

    def __init__(self, path: str, *, keep_reserve: bool = False) -> None:
        """Opens or creates it. Raises sqlite3.Error, also if it is damaged.

        ``keep_reserve``: it has blocks ahead, and is left with them when it is closed.
        """
        self._path = path
        self._reserve = DatabaseReserve(path) if keep_reserve else None
        self._to_be_opened = False  # it could not be, once it was closed
        self._least_change = 0
        try:
            self._db = open_database(path, wait_s=LOCK_PATIENCE_S)
            try:
                self._losses = self._db.execute("SELECT count(*) FROM losses").fetchone()[0]
                self.changes = ChangeTable(lambda: self._db, self._losses)
                self._files = self._found()
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            self._close_reserve()
            raise
        if self._reserve is not None:
            self._reserve.opened(self._db)

    def close(self) -> None:
        """Closes the database; with ``keep_reserve`` its blocks on the disk stay."""
        self._db.close()
        self._close_reserve()

    def _close_reserve(self) -> None:
        if self._reserve is not None:
            self._reserve.closed()

    def keep_in_place(self) -> None:
        """Writes the database anew if another process has removed its file or its WAL, and logs it,
        because SQLite would go on writing to a file without a name, and the next start would find
        none of it.

        Raises sqlite3.Error if that is not possible, or if another file stands in its place.
        """
        if self._to_be_opened:
            self._open_again()
        found = self._found()
        if found == self._files:
            return
        if found[""] not in (None, self._files[""]):
            raise sqlite3.OperationalError(
                f"{self._path} was replaced under the running server, and what stands there is not "
                "written to; move it away, and the records are written anew"
            )
        if found[""] is None:
            again = f"{self._path}.again"
            with contextlib.suppress(OSError):  # otherwise the next line says why not
                os.unlink(again)
            self._db.execute("VACUUM INTO ?", (again,))
            try:
                os.rename(again, self._path)
            except OSError as error:
                raise sqlite3.OperationalError(f"{self._path}: {error.strerror}") from error
        else:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self.close()
        self._to_be_opened = True
        say(f"{self._path} or its WAL was removed under the running server; it is written anew")
        self._open_again()

    def _open_again(self) -> None:
        self._db = open_database(self._path, wait_s=0.0)
        self._to_be_opened = False
        self._files = self._found()
        if self._reserve is not None:
            self._reserve.opened_again(self._db)

    def _found(self) -> dict[str, tuple[int, int] | None]:
        """Device and inode of the files that its names lead to: the database and its WAL."""
        return {ending: identity_of(self._path + ending) for ending in ("", "-wal")}

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self.keep_in_place()
        with transaction(self._db, self.changes.rolled_back):
            yield self._db
        if self._reserve is not None:
            self._reserve.committed()
        self.changes.committed()

    def insert_starting(
        self,
        job_id: str,
        owner: str,
        spec: JobSpec,
        policy: str,
        created_ns: int,
        request_id: str | None,
    ) -> int:
        """The record that comes before the process. Returns its place in the order of starts.

        The caller has seen that ``request_id`` names no job: if a row is there, it is one that
        could not be removed when its start failed.
        """
        with self._transaction() as db:
            row = db.execute("SELECT coalesce(max(sequence), 0) + 1 FROM jobs").fetchone()
            sequence = int(row[0])
            db.execute(
                "INSERT INTO jobs (id, sequence, owner, spec, policy, state, created_ns)"
                " VALUES (?, ?, ?, ?, ?, 'starting', ?)",
                (job_id, sequence, owner, spec_text(spec), policy, created_ns),
            )
            if request_id is not None:
                db.execute(
                    "INSERT OR REPLACE INTO requests VALUES (?, ?, ?)",
                    (owner, request_id, job_id),
                )
        return sequence

    def set_running(self, job_id: str, started: Started, boot_id: str) -> str:
        """Gives the job its handle: the pid, with ".2" and so on if that was given before."""
        what = started_text(started, boot_id)
        with self._transaction() as db:
            row = db.execute(
                "INSERT INTO handles VALUES (?, ? + 1)"
                " ON CONFLICT (number) DO UPDATE SET next = next + 1 RETURNING next - 1",
                (started.pid, 1 + self._losses * _SUFFIXES_A_LOSS),
            ).fetchone()
            handle = str(started.pid) if row[0] == 1 else f"{started.pid}.{row[0]}"
            db.execute(
                "UPDATE jobs SET state = 'running', handle = ?, started = ? WHERE id = ?",
                (handle, what, job_id),
            )
            self.changes.write(job_id, "running")
        return handle

    def set_policy(self, job_id: str, policy_hash: str) -> None:
        """It is to be started by another policy than the one that it was first decided by."""
        with self._transaction() as db:
            db.execute("UPDATE jobs SET policy = ? WHERE id = ?", (policy_hash, job_id))

    def set_stopping(self, job_id: str, notes: dict[str, object]) -> None:
        """Its end was asked for (stop.py), so that a server that takes it over resumes the stop."""
        with self._transaction() as db:
            first = db.execute(
                "SELECT 1 FROM jobs WHERE id = ? AND stop IS NULL AND end IS NULL", (job_id,)
            ).fetchone()
            db.execute("UPDATE jobs SET stop = ? WHERE id = ?", (json.dumps(notes), job_id))
            if first is not None:  # what is asked for later changes its notes alone
                self.changes.write(job_id, "stopping")

    def paused(self) -> set[str]:
        """Jobs whose last recorded change is that they stand still."""
        return {str(row[0]) for row in self._db.execute("SELECT job FROM paused")}

    def set_paused(self, job_id: str, paused: bool) -> None:
        """Its processes stand still, or run on: a change for watchers alone, as the supervisor
        knows which jobs are paused. None where that was recorded already, nor for a job that is
        being stopped, because that lets it run on."""
        if (job_id in self.paused()) == paused:
            return
        with self._transaction() as db:
            runs = db.execute(
                "SELECT 1 FROM jobs"
                " WHERE id = ? AND handle IS NOT NULL AND stop IS NULL AND end IS NULL",
                (job_id,),
            ).fetchone()
            if not paused:
                db.execute("DELETE FROM paused WHERE job = ?", (job_id,))
            elif runs is not None:
                db.execute("INSERT INTO paused VALUES (?)", (job_id,))
            if runs is not None:
                self.changes.write(job_id, "paused" if paused else "resumed")

    def set_finished(self, job_id: str, end: EndRecord) -> None:
        """The end record is durable when this returns. It can be written once only."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE jobs SET state = 'finished', end = ? WHERE id = ? AND end IS NULL",
                (end.to_json(), job_id),
            ).rowcount
            if changed != 1:
                raise AssertionError(f"job {job_id} has an end record already")
            self.changes.write(job_id, "finished")
            db.execute("DELETE FROM paused WHERE job = ?", (job_id,))

    def delete(self, job_id: str) -> None:
        """The job and its request id are forgotten. Its handle's number is not: see handles.

        Its files are to go, which ``removed`` remembers until ``files_gone``.
        """
        with self._transaction() as db:
            self.changes.write(job_id, "removed")
            db.execute("DELETE FROM requests WHERE job = ?", (job_id,))
            db.execute("DELETE FROM paused WHERE job = ?", (job_id,))
            db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
            db.execute("INSERT OR IGNORE INTO removed VALUES (?)", (job_id,))

    def removed(self) -> set[str]:
        """Jobs that were deleted and whose files may be there still."""
        return {str(row[0]) for row in self._db.execute("SELECT job FROM removed")}

    def files_gone(self, job_id: str) -> None:
        """The files of a deleted job are gone, so ``removed`` need not name it any more."""
        with self._transaction() as db:
            db.execute("DELETE FROM removed WHERE job = ?", (job_id,))

    def note_strays(self, job_ids: set[str]) -> set[str]:
        """Notes output without a record, and returns the ids that are new: their records were lost.

        Handles that were given may be among what is lost. So if there are new ones, the suffixes of
        handles continue far beyond any that can have been given, so that no handle names two jobs.
        """
        known = {str(row[0]) for row in self._db.execute("SELECT job FROM strays")}
        new = job_ids - known
        if new:
            with self._transaction() as db:
                db.executemany("INSERT INTO strays VALUES (?)", [(job_id,) for job_id in new])
                self._note_loss(db)
        return new

    def note_left_out(self, job_ids: set[str]) -> None:
        """Which jobs no client can see, because their records are damaged. Where these are others
        than at the last start, each watcher must list, because no change says so."""
        if job_ids == {str(row[0]) for row in self._db.execute("SELECT job FROM left_out")}:
            return
        with self._transaction() as db:
            db.execute("DELETE FROM left_out")
            db.executemany("INSERT INTO left_out VALUES (?)", [(job_id,) for job_id in job_ids])
            self.changes.begin_anew()

    def note_loss(self, at_least: int) -> None:
        """As for new strays: records were lost once more, and ``at_least`` so many times in all."""
        with self._transaction() as db:
            self._note_loss(db)
            while self._losses < at_least:
                self._note_loss(db)

    def _note_loss(self, db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO losses SELECT coalesce(max(number), 0) + 1 FROM losses")
        self._losses = db.execute("SELECT count(*) FROM losses").fetchone()[0]
        self.changes.lost(self._losses, least=self._least_change)

    def find_request(self, owner: str, request_id: str) -> str | None:
        """The id of the job that a request id of this owner started."""
        row = self._db.execute(
            "SELECT job FROM requests WHERE owner = ? AND request_id = ?", (owner, request_id)
        ).fetchone()
        return None if row is None else str(row[0])

    def copy_from(self, path: str, tables: tuple[str, ...]) -> dict[str, int]:
        """Takes over what can be read of a damaged database; how many rows of each table.

        The caller then calls ``note_loss``, which leaves no change's number to be given again.
        """
        copied = dict.fromkeys(tables, 0)
        with contextlib.closing(connect_database(path)) as source:
            for table in tables:
                # A broken page ends a walk through the rows; the other way leads to it from behind.
                for order in ("ASC", "DESC"):
                    for row in _readable(source, f"SELECT * FROM {table} ORDER BY rowid {order}"):
                        copied[table] += self._insert_as_it_was(table, row)
            for (newest,) in _readable(source, NEWEST):
                self._least_change = newest + 1 if isinstance(newest, int) else 0
        return copied

    def _insert_as_it_was(self, table: str, row: tuple[object, ...]) -> int:
        marks = ", ".join("?" * len(row))
        try:
            with self._transaction() as db:
                statement = f"INSERT OR IGNORE INTO {table} VALUES ({marks})"
                return db.execute(statement, row).rowcount
        except (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError):
            return 0  # it refers to what is lost, or is garbage

    def load(self) -> Iterator[JobRecord | DamagedRecord]:
        """Every job, oldest first. Raises sqlite3.Error."""
        columns = "id, sequence, owner, spec, policy, state, handle, started, stop, end"
        for row in self._db.execute(f"SELECT {columns} FROM jobs ORDER BY sequence").fetchall():
            try:
                yield read_row(row)
            except DAMAGE as error:
                yield DamagedRecord(str(row[0]), f"{type(error).__name__}: {error}")


def _readable(source: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...]]:
    """Rows up to the first that cannot be read. Errors in the caller's own loop are not caught."""
    try:
        cursor = source.execute(query)
    except sqlite3.Error:
        return
    while True:
        try:
            row = cursor.fetchone()
        except sqlite3.Error:
            return
        if row is None:
            return
        yield row
