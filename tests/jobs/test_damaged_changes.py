"""A damaged table of changes: the server starts, and each watcher gets what happened, or lists."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random

import pytest
from records import started

from penstock.jobs import change_table
from penstock.jobs.backends.base import JobSpec
from penstock.jobs.change_table import Change
from penstock.jobs.end_record import EndRecord
from penstock.jobs.salvage import open_store
from penstock.jobs.store import Store

END = EndRecord("exited", 1, exit_code=0)
OWNERS = ("alice", "bob")
# All that a value of SQLite can become: of another type, or of a size that was never written.
ODD: tuple[object, ...] = ("x", "1", b"\x00", 1.5, -1, 0, 2**62, 2**63 - 1, -(2**63))


def a_life(store: Store, number: int, owner: str = "alice") -> None:
    job_id = f"{number:032x}"
    store.insert_starting(job_id, owner, JobSpec("true"), "hash", 0, None)
    store.set_running(job_id, started(1000 + number), "boot")
    store.set_finished(job_id, END)


Known = dict[str, list[Change]]


def filled(path: Path, monkeypatch: pytest.MonkeyPatch) -> Known:
    """A table of which some rows were pruned; what is still there by owner."""
    with closing(Store(str(path))) as store, monkeypatch.context() as small:
        small.setattr(change_table, "MOST_CHANGES", 10)
        for number in range(16):
            a_life(store, number, OWNERS[number % 2])
        found = {owner: list(store.changes.read(owner, 0, 1000)) for owner in OWNERS}
        assert 10 <= sum(map(len, found.values())) < 30
    return found


def check_watchers(store: Store, known: Known) -> int:
    """Of each number that a client may resume from; how many may not."""
    told = 0
    table = store.changes
    for owner, changes in known.items():
        for at, change in enumerate(changes):
            after = change.sequence
            if not table.can_resume(owner, after) or not table.has_all(owner, after):
                told += 1
                continue
            expected, found = changes[at + 1 :], table.read(owner, after, 1000)
            assert [each.sequence for each in found] == [each.sequence for each in expected]
            # A text that is another text cannot be seen: it is shown as it is.
            assert sum(one != other for one, other in zip(found, expected, strict=True)) <= 1
    return told


def check_goes_on(store: Store, known: Known, number: int = 100) -> None:
    """New changes come behind whatever was given, and old ones can be pruned."""
    begin = store.changes.begin_of("alice")
    assert begin >= 1
    a_life(store, number)
    late = store.changes.read("alice", begin, 1000)
    assert [each.what for each in late] == ["running", "finished"]
    assert late[0].sequence > max(each.sequence for each in known["alice"] + known["bob"])
    assert late[-1].sequence < 2**54
    store.changes.prune()
    assert store.changes.read("alice", begin, 1000) == late


def root_pages(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as db:
        query = "SELECT name, rootpage FROM sqlite_master WHERE tbl_name LIKE 'changes%'"
        return dict(db.execute(query).fetchall())


@pytest.mark.parametrize(
    "name", ["changes", "changes_of_owner", "changes_before", "sqlite_autoindex_changes_before_1"]
)
def test_a_flipped_byte_keeps_no_server_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Bytes of the rows and of the indexes, by a bit each, or all eight."""
    whole = tmp_path / "whole"
    known = filled(whole, monkeypatch)
    data = whole.read_bytes()
    begin = (root_pages(whole)[name] - 1) * 4096
    used = [at for at in range(begin, begin + 4096) if data[at]]
    assert 30 < len(used) < 2000
    chosen = Random(name)
    lost = 0
    for number, at in enumerate(chosen.sample(used, min(len(used), 120))):
        flipped = bytearray(data)
        flipped[at] ^= chosen.choice((0xFF, 1 << chosen.randrange(8)))
        path = tmp_path / f"{number}" / "db"
        path.parent.mkdir()
        path.write_bytes(flipped)
        try:
            store = Store(str(path))
        except sqlite3.DatabaseError:  # SQLite's own check has found it
            store, complaints = open_store(str(path))
            assert complaints
        with closing(store):
            lost += check_watchers(store, known) > 0
            check_goes_on(store, known)
        with closing(Store(str(path))) as store:  # what was begun anew is whole
            assert store.changes.can_resume("alice", store.changes.begin_of("alice"))
            assert not store.changes._begun_anew
    assert lost


COLUMNS = [
    *(("changes", column) for column in ("sequence", "owner", "job", "handle", "what", "time_ns")),
    *(("changes_before", column) for column in ("owner", "sequence")),
]
SPOILT = [
    (table, column, value)
    for table, column in COLUMNS
    for value in ODD
    # SQLite itself has nothing but integers there.
    if (table, column) != ("changes", "sequence") or isinstance(value, int)
]


def spoil(db: sqlite3.Connection, table: str, column: str, value: object) -> bool:
    """The oldest row has that value; whether it is one that can have been written there."""
    oldest = f"(SELECT min(rowid) FROM {table})"
    db.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = {oldest}", (value,))
    query = f"SELECT typeof({column}) FROM {table} ORDER BY rowid LIMIT 1"
    (kind,) = db.execute(query).fetchone()
    return bool(kind == ("integer" if column in ("sequence", "time_ns") else "text"))


@pytest.mark.parametrize(("table", "column", "value"), SPOILT)
def test_an_odd_value_keeps_no_server_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, column: str, value: object
) -> None:
    """Of any type in any column, as the server starts: it begins anew once, and not each time."""
    path = tmp_path / "db"
    known = filled(path, monkeypatch)
    with closing(sqlite3.connect(path)) as db:
        spoil(db, table, column, value)
        db.commit()
    with closing(Store(str(path))) as store:
        check_watchers(store, known)
        check_goes_on(store, known)
        begin = store.changes.begin_of("alice")
    with closing(Store(str(path))) as store:
        assert store.changes.can_resume("alice", begin)


@pytest.mark.parametrize(("table", "column", "value"), SPOILT)
def test_an_odd_value_under_a_running_server_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, column: str, value: object
) -> None:
    """Neither the removal of old changes, nor the end of a job, is an error by it; a watcher that
    meets it is told an error that clients know, until the next removal."""
    path = tmp_path / "db"
    known = filled(path, monkeypatch)
    with closing(Store(str(path))) as store:
        spoil(store._db, table, column, value)
        try:
            check_watchers(store, known)
        except sqlite3.Error:
            store.changes.prune()
            assert check_watchers(store, known) == sum(map(len, known.values()))
        with monkeypatch.context() as old:
            old.setattr(change_table, "MOST_AGE_S", -60.0)
            for number in range(100, 116):
                a_life(store, number)  # and removes what is old behind it
            for _ in range(4):
                store.changes.prune()
        assert store._db.execute("SELECT count(*) FROM changes").fetchone() == (0,)
        assert store.changes._rows == 0
        check_goes_on(store, known, 200)


def test_an_odd_time_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row goes, and no other, and no watcher behind it need list."""
    path = tmp_path / "db"
    known = filled(path, monkeypatch)
    with closing(Store(str(path))) as store:
        assert not spoil(store._db, "changes", "time_ns", b"\x00")
        (before,) = store._db.execute("SELECT count(*) FROM changes").fetchone()
        store.changes.prune()
        assert store._db.execute("SELECT count(*) FROM changes").fetchone() == (before - 1,)
        assert check_watchers(store, known) == 0


def test_a_full_disk_puts_the_mending_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server starts; what is damaged is not read, until there is room."""
    path = tmp_path / "db"
    known = filled(path, monkeypatch)
    with closing(sqlite3.connect(path)) as db:
        spoil(db, "changes_before", "sequence", "x")
        db.commit()
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Failing))
    Failing.wrong = "COMMIT"
    try:
        store = Store(str(path))
        with pytest.raises(sqlite3.DatabaseError, match="soon forgotten"):
            check_watchers(store, known)
    finally:
        Failing.wrong = ""
    with closing(store):
        store.changes.prune()
        check_goes_on(store, known)


class Failing(sqlite3.Connection):
    """Its commits fail where ``wrong`` says so, as on a full disk."""

    wrong = ""

    def execute(self, statement: str, *given: object) -> sqlite3.Cursor:
        if statement == "COMMIT" and self.wrong:
            if self.wrong == "rolled back":
                super().execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(statement, *given)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["COMMIT", "rolled back"])
def test_a_commit_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """However often it is tried again: neither a row, nor a count of one. The error is its own,
    also where SQLite has rolled the transaction back itself."""
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Failing))
    monkeypatch.setattr(change_table, "MOST_CHANGES", 60)
    with closing(Store(str(tmp_path / "db"))) as store:
        begin = store.changes.begin_of("alice")
        for number in range(10):
            a_life(store, number)
        job_id = f"{10:032x}"
        store.insert_starting(job_id, "alice", JobSpec("true"), "hash", 0, None)
        store.set_running(job_id, started(9), "boot")
        woken: list[str] = []
        store.changes.on_changed = woken.append
        try:
            Failing.wrong = wrong
            for _ in range(100):
                with pytest.raises(sqlite3.OperationalError, match="disk is full"):
                    store.set_finished(job_id, END)
        finally:
            Failing.wrong = ""
        assert not woken
        store.set_finished(job_id, END)
        assert woken == ["alice"]
        store.changes.prune()
        assert len(store.changes.read("alice", begin, 1000)) == store.changes._rows == 22


Clock = Callable[[float], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sets both clocks so many seconds on; the one of the day stands still behind the numbers."""
    now = 10**15

    def passes(seconds: float) -> None:
        nonlocal now
        now += int(seconds * 1e9)

    monkeypatch.setattr(change_table, "monotonic_ns", lambda: now)
    return passes


@pytest.mark.parametrize("others", [0, 40])
def test_numbers_do_not_count_others_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock, others: int
) -> None:
    """Also while the clock is behind the newest number: they grow with time."""
    with closing(Store(str(tmp_path / "db"))) as store:
        begin = store.changes.begin_of("alice")
        a_life(store, 1)
        yesterday = time.time_ns() - 86_400 * 10**9
        monkeypatch.setattr("penstock.jobs.change_rows.time.time_ns", lambda: yesterday)
        clock(1)
        a_life(store, 2)
        for number in range(others):
            clock(1 / others)
            a_life(store, 100 + number, "bob")
        clock(1 if others else 2)
        a_life(store, 3)
        numbers = [each.sequence for each in store.changes.read("alice", begin, 1000)]
        assert numbers == sorted(set(numbers))
        assert 2_000_000 <= numbers[4] - numbers[2] <= 2_000_000 + 2
