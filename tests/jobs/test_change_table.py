"""The table of changes: its numbers, what is written with what, what is pruned, who must list."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from records import started

from penstock.jobs import change_table
from penstock.jobs.backends.base import JobSpec
from penstock.jobs.change_table import MOST_AGE_S, Change
from penstock.jobs.end_record import EndRecord
from penstock.jobs.salvage import open_store
from penstock.jobs.store import Store

END = EndRecord("exited", 1, exit_code=0)


def a_life(store: Store, number: int, owner: str = "alice") -> str:
    """One job from start to end; its id."""
    job_id = f"{number:032x}"
    store.insert_starting(job_id, owner, JobSpec("true"), "hash", 0, None)
    store.set_running(job_id, started(1000 + number), "boot")
    store.set_finished(job_id, END)
    return job_id


def told(store: Store, after: int, owner: str = "alice", most: int = 1000) -> Sequence[Change]:
    assert store.changes.has_all(owner, after)
    return store.changes.read(owner, after, most)


def test_each_change_is_a_row_and_none_is_of_a_job_without_a_handle(tmp_path: Path) -> None:
    """In order; a stop once, though its notes change."""
    with closing(Store(str(tmp_path / "db"))) as store:
        begin = store.changes.begin_of("alice")
        one, other = f"{1:032x}", f"{2:032x}"
        store.insert_starting(one, "alice", JobSpec("true"), "hash", 0, None)
        store.insert_starting(other, "alice", JobSpec("true"), "hash", 0, None)
        assert told(store, begin) == []
        handle = store.set_running(one, started(7), "boot")
        store.set_stopping(one, {"by": "alice"})
        store.set_stopping(one, {"by": "alice", "escalated": True})
        store.set_finished(one, END)
        store.delete(one)
        store.delete(other)
        changes = told(store, begin)
        assert [each.what for each in changes] == ["running", "stopping", "finished", "removed"]
        assert {(each.job_id, each.handle) for each in changes} == {(one, handle)}
        numbers = [begin, *(each.sequence for each in changes)]
        assert numbers == sorted(set(numbers))
        assert told(store, numbers[2]) == changes[2:]
        assert told(store, begin, "bob") == []


def test_a_pause_is_a_change_if_it_is_one(tmp_path: Path) -> None:
    """Once each; not of a job that is being stopped, which runs on by that, nor of an ended one."""
    path = str(tmp_path / "db")
    one, other = f"{1:032x}", f"{2:032x}"
    with closing(Store(path)) as store:
        begin = store.changes.begin_of("alice")
        for job_id in (one, other):
            store.insert_starting(job_id, "alice", JobSpec("true"), "hash", 0, None)
            store.set_paused(job_id, True)  # it has no handle yet
            store.set_running(job_id, started(7), "boot")
        for paused in (False, True, True, False, False, True):
            store.set_paused(one, paused)
        assert store.paused() == {one}
    with closing(Store(path)) as store:
        assert store.paused() == {one}
        store.set_paused(one, True)
        store.set_stopping(one, {"by": "alice"})
        store.set_paused(one, False)
        store.set_paused(other, True)
        store.set_finished(other, END)
        assert store.paused() == set()
        store.set_paused(other, True)
        whats = [(each.job_id, each.what) for each in told(store, begin)]
        assert whats == [
            *((job_id, "running") for job_id in (one, other)),
            *((one, what) for what in ("paused", "resumed", "paused", "stopping")),
            *((other, what) for what in ("paused", "finished")),
        ]


def test_a_change_that_fails_has_no_row(tmp_path: Path) -> None:
    """Both are one transaction; watchers are woken for what is committed alone."""
    with closing(Store(str(tmp_path / "db"))) as store:
        woken: list[str] = []
        store.changes.on_changed = woken.append
        job_id = a_life(store, 1)
        before = told(store, store.changes.begin_of("nobody"))
        assert woken == ["alice", "alice"]
        with pytest.raises(AssertionError, match="end record already"):
            store.set_finished(job_id, END)
        assert told(store, store.changes.begin_of("nobody")) == before
        assert woken == ["alice", "alice"]


@pytest.mark.parametrize("statement", ["UPDATE jobs SET state", "INSERT INTO changes"])
def test_neither_is_there_without_the_other(tmp_path: Path, statement: str) -> None:
    """Whichever of the two fails."""
    with closing(Store(str(tmp_path / "db"))) as store:
        begin = store.changes.begin_of("alice")
        job_id = f"{1:032x}"
        store.insert_starting(job_id, "alice", JobSpec("true"), "hash", 0, None)
        table = statement.split()[1] if statement.startswith("UPDATE") else "changes"
        when = "UPDATE OF state ON" if statement.startswith("UPDATE") else "INSERT ON"
        store._db.execute(
            f"CREATE TEMP TRIGGER full BEFORE {when} {table}"
            " BEGIN SELECT raise(ABORT, 'disk full'); END"
        )
        with pytest.raises(sqlite3.Error, match="disk full"):
            store.set_running(job_id, started(7), "boot")
        store._db.execute("DROP TRIGGER full")
        assert told(store, begin) == []
        assert [row[0] for row in store._db.execute("SELECT state FROM jobs")] == ["starting"]
        assert store.set_running(job_id, started(7), "boot") == "7"
        assert [each.what for each in told(store, begin)] == ["running"]


def test_a_number_is_never_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the clock stands still, and over a restart."""
    monkeypatch.setattr("penstock.jobs.change_table.time.time_ns", lambda: 5_000_000)
    path = str(tmp_path / "db")
    numbers: list[int] = []
    begin = 0
    for number in range(3):
        with closing(Store(path)) as store:
            begin = begin or store.changes.begin_of("alice")
            a_life(store, number)
            numbers = [each.sequence for each in told(store, begin)]
    assert len(numbers) == 6
    assert numbers == sorted(set(numbers))
    assert numbers[0] > begin == 5000


def test_a_client_resumes_with_its_own_numbers_alone(tmp_path: Path) -> None:
    """No other client's, no made up one; the begin of the table only while it has had no other."""
    with closing(Store(str(tmp_path / "db"))) as store:
        table = store.changes
        begin = table.begin_of("alice")
        assert table.begin_of("bob") == begin
        a_life(store, 1)
        own = [each.sequence for each in told(store, begin)]
        assert all(table.can_resume("alice", number) for number in [begin, *own])
        assert table.can_resume("bob", begin)
        assert table.begin_of("bob") == begin
        assert table.begin_of("alice") == own[-1]
        for number in (0, begin - 1, begin + 1, own[-1] + 1, 2**63 - 1, 2**63, 2**64 - 1):
            assert not table.can_resume("alice", number) or number in own
        assert not any(table.can_resume("bob", number) for number in own)


def test_rows_are_pruned_by_number_and_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In slices; whoever is before what has gone is told (C64), and whoever is at it is not."""
    monkeypatch.setattr(change_table, "MOST_CHANGES", 100)
    now_ns = 10**18
    monkeypatch.setattr("penstock.jobs.change_table.time.time_ns", lambda: now_ns)
    path = str(tmp_path / "db")
    with closing(Store(path)) as store:
        table = store.changes
        begin = table.begin_of("alice")
        first = a_life(store, 0)
        early = told(store, begin)[-1].sequence
        assert told(store, begin)[0].job_id == first
        for number in range(1, 100):
            a_life(store, number)
        (rows,) = store._db.execute("SELECT count(*) FROM changes").fetchone()
        assert 100 <= rows < 100 + change_table._PRUNED_EVERY
        for number in (begin, early):
            assert not table.can_resume("alice", number)
            assert not table.has_all("alice", number)
        (oldest,) = store._db.execute("SELECT min(sequence) FROM changes").fetchone()
        (gone,) = store._db.execute("SELECT sequence FROM changes_before WHERE owner = 'alice'")
        assert table.can_resume("alice", gone[0])
        assert table.read("alice", gone[0], 1)[0].sequence == oldest
        assert table.can_resume("bob", begin)
    with closing(Store(path)) as store:
        table = store.changes
        newest = table.begin_of("alice")
        now_ns += int(MOST_AGE_S * 1e9) + 1
        for _ in range(6):
            table.prune()
        assert store._db.execute("SELECT count(*) FROM changes").fetchone() == (0,)
        assert table.begin_of("alice") == newest
        assert table.can_resume("alice", newest)
        a_life(store, 200)
        assert [each.what for each in told(store, newest)] == ["running", "finished"]


def test_one_far_behind_is_told_to_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C64: by its own changes; what others' jobs do does not count."""
    monkeypatch.setattr(change_table, "MOST_BEHIND", 10)
    with closing(Store(str(tmp_path / "db"))) as store:
        table = store.changes
        begin = table.begin_of("alice")
        for number in range(5):
            a_life(store, number)
            a_life(store, 100 + number, "bob")
        assert table.near_until("alice", begin) == table.written == 20
        a_life(store, 6)
        assert table.near_until("alice", begin) is None
        assert table.near_until("alice", told(store, begin)[1].sequence) == table.written
        assert table.near_until("alice", told(store, begin)[4].sequence) == table.written + 3


def damage(path: str) -> None:
    """A page in the middle of the file is garbage, as one of a bad disk."""
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


@pytest.mark.parametrize("what", ["damaged", "gone", "older version", "strays"])
def test_a_number_of_another_life_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """C64: after a salvage, a loss, or a time under a version without changes, no earlier number is
    taken, and none is given again, though the clock stands still where the database is there."""
    if what != "gone":  # where nothing is left there is the clock alone
        monkeypatch.setattr("penstock.jobs.change_table.time.time_ns", lambda: 5_000_000)
    path = str(tmp_path / "penstock.db")
    with closing(Store(path)) as store:
        begin = store.changes.begin_of("alice")
        for number in range(200):
            a_life(store, number)
        early = [begin, *(each.sequence for each in told(store, begin))]
        if what == "strays":
            assert store.note_strays({"f" * 32}) == {"f" * 32}
    if what == "damaged":
        damage(path)
    elif what == "gone":
        os.unlink(path)
    elif what == "older version":
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 1")
    store, complaints = open_store(path)
    with closing(store):
        assert bool(complaints) == (what == "damaged")
        assert not any(store.changes.can_resume("alice", number) for number in early)
        begin = store.changes.begin_of("alice")
        a_life(store, 1000)
        late = told(store, begin)
        assert [each.what for each in late] == ["running", "finished"]
        assert min(begin, *(each.sequence for each in late)) > max(early)


def test_a_database_of_the_first_version_gets_its_table(tmp_path: Path) -> None:
    """Its jobs stay; their changes begin now."""
    path = str(tmp_path / "db")
    with closing(Store(path)) as store:
        a_life(store, 1)
    with closing(sqlite3.connect(path)) as db:
        for statement in ("DROP TABLE changes", "DROP TABLE changes_before"):
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
    with closing(Store(path)) as store:
        begin = store.changes.begin_of("alice")
        assert len(list(store.load())) == 1
        store.delete(f"{1:032x}")
        assert [each.what for each in told(store, begin)] == ["removed"]
