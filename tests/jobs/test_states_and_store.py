"""The life cycle table and the records."""

import itertools
import os
import random
import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from records import started

from penstock.jobs.backends.base import JobSpec
from penstock.jobs.database_file import lock_directory
from penstock.jobs.end_record import EndRecord
from penstock.jobs.job_errors import Unavailable
from penstock.jobs.job_rows import DamagedRecord, JobRecord
from penstock.jobs.output.preallocation import AHEAD_BYTES
from penstock.jobs.salvage import open_store
from penstock.jobs.states import TRANSITIONS, IllegalTransition, JobEvent, JobState, after
from penstock.jobs.store import Store


def test_every_state_is_reachable_and_only_finished_is_final() -> None:
    """The table has no dead ends and no islands."""
    reached = {JobState.STARTING}
    while new := {to for of in reached for to in TRANSITIONS[of].values()} - reached:
        reached |= new
    assert reached == set(JobState)
    assert [state for state in JobState if not TRANSITIONS[state]] == [JobState.FINISHED]


def test_there_is_no_way_back() -> None:
    """States are ordered, and every event keeps the order."""
    order = {state: number for number, state in enumerate(JobState)}
    for state, event in itertools.product(JobState, JobEvent):
        if event in TRANSITIONS[state]:
            assert order[after(state, event)] >= order[state]
        else:
            with pytest.raises(IllegalTransition):
                after(state, event)


def records(store: Store) -> list[JobRecord]:
    """Every record; none may be damaged."""
    found = list(store.load())
    assert not [each for each in found if isinstance(each, DamagedRecord)]
    return [each for each in found if isinstance(each, JobRecord)]


def test_a_handle_is_never_given_twice(tmp_path: Path) -> None:
    """48213, then 48213.2, .3, also after the store was closed and opened again."""
    path = str(tmp_path / "db")
    handles = []
    for number in range(3):
        store = Store(path)
        job_id = f"{number:032x}"
        store.insert_starting(job_id, "alice", JobSpec("true"), "hash", 0, None)
        handles.append(store.set_running(job_id, started(48213), "boot"))
        store.set_finished(job_id, EndRecord("exited", 1, exit_code=0))
        store.close()
    assert handles == ["48213", "48213.2", "48213.3"]


def test_records_survive_as_they_were(tmp_path: Path) -> None:
    """Spec, start and end come back equal; request ids belong to their owner."""
    path = str(tmp_path / "db")
    spec = JobSpec("ls", ("-la", ""), {"LANG": "C"}, 2.5)
    end = EndRecord("signaled", 5, signal=9, output_bytes=7, output_sha256="ab")
    store = Store(path)
    store.insert_starting("a" * 32, "alice", spec, "hash", 0, "once")
    store.set_running("a" * 32, started(7), "boot")
    store.set_finished("a" * 32, end)
    store.close()
    store = Store(path)
    (record,) = records(store)
    assert (record.spec, record.end, record.handle, record.state) == (spec, end, "7", "finished")
    assert store.find_request("alice", "once") == "a" * 32
    assert store.find_request("bob", "once") is None
    store.close()


def test_an_end_record_is_written_once(tmp_path: Path) -> None:
    """A second one is a bug of ours, and the first stays."""
    store = Store(str(tmp_path / "db"))
    store.insert_starting("a" * 32, "alice", JobSpec("ls"), "hash", 0, None)
    store.set_finished("a" * 32, EndRecord("lost", 1))
    with pytest.raises(AssertionError):
        store.set_finished("a" * 32, EndRecord("exited", 2))
    (record,) = records(store)
    assert record.end == EndRecord("lost", 1)
    store.close()


def test_a_state_directory_has_one_holder(tmp_path: Path) -> None:
    """The second is told which directory, and gets it once the first has left."""
    with lock_directory(str(tmp_path)):
        with pytest.raises(Unavailable, match=str(tmp_path)), lock_directory(str(tmp_path)):
            pass
    with lock_directory(str(tmp_path)):
        pass


def test_a_damaged_row_costs_no_other(tmp_path: Path) -> None:
    """Whatever stands in one row, the others are read."""
    store = Store(str(tmp_path / "db"))
    for number in range(6):
        store.insert_starting(f"{number:032x}", "alice", JobSpec("ls"), "hash", 0, None)
        store.set_running(f"{number:032x}", started(100 + number), "boot")
        store.set_finished(f"{number:032x}", EndRecord("lost", 1))
    garbage = {
        1: ("spec", "{"),
        2: ("started", "nul"),
        3: ("end", '{"reason": "exited"}'),
        4: ("end", '{"reason": "exited", "ended_ns": "x"}'),
    }
    for number, (column, text) in garbage.items():
        store._db.execute(f"UPDATE jobs SET {column} = ? WHERE sequence = ?", (text, number + 1))
    found = list(store.load())
    assert [isinstance(each, DamagedRecord) for each in found] == [n in garbage for n in range(6)]
    store.close()


def test_a_request_id_that_could_not_be_forgotten_is_free(tmp_path: Path) -> None:
    """Its row names a job that never was; the next start of that id takes it over."""
    store = Store(str(tmp_path / "db"))
    store.insert_starting("a" * 32, "alice", JobSpec("ls"), "hash", 0, "once")
    store.insert_starting("b" * 32, "alice", JobSpec("ls"), "hash", 0, "once")
    assert store.find_request("alice", "once") == "b" * 32
    store.close()


def filled_store(path: Path, count: int) -> None:
    store = Store(str(path))
    for number in range(count):
        job_id = f"{number:032x}"
        store.insert_starting(job_id, "alice", JobSpec("ls"), "hash", 0, f"request {number}")
        store.set_running(job_id, started(1000 + number), "boot")
        store.set_finished(job_id, EndRecord("exited", 1, exit_code=0))
    store.close()


def test_a_broken_page_costs_what_stood_on_it(tmp_path: Path) -> None:
    """The database is put aside and said; most jobs are still there; no handle comes again."""
    path = tmp_path / "db"
    filled_store(path, 300)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = bytes(4096)
    path.write_bytes(data)
    store, (complaint,) = open_store(str(path))
    assert str(path) in complaint
    assert (tmp_path / "db.damaged-1").exists()
    found = records(store)
    assert 200 < len(found) < 300
    known = {record.handle for record in found}
    store.insert_starting("f" * 32, "alice", JobSpec("ls"), "hash", 0, None)
    for number in (1000, 1150, 1299):
        assert store.set_running("f" * 32, started(number), "boot") not in known
    store.close()
    assert open_store(str(path))[1] == []


def run_to_its_kill(work: Callable[[], None]) -> bool:
    """In a process of its own, which ends without any cleanup; False: it was killed by KILL."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process, before the ``step``-th file is renamed or removed."""
    steps = itertools.count()

    def wrap(real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            if next(steps) == step:
                os.kill(os.getpid(), 9)
            real(*args)

        return call

    for name in ("rename", "unlink"):
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))


class KeepsItsWal(sqlite3.Connection):
    """SQLite cannot empty the WAL into the damaged database as it closes it: no write succeeds."""

    def __init__(self, path: str, **settings: Any) -> None:
        super().__init__(path, **settings)
        self._most_bytes = resource.RLIM_INFINITY if path.endswith(".new") else 0

    def close(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._most_bytes, hard))
        super().close()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.slow
def test_a_salvage_killed_at_any_step_goes_on_with_the_latest_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood in the WAL alone is carried over, whichever file was renamed when it came."""

    def write_and_die(path: Path) -> None:
        store = Store(str(path))
        store.insert_starting("e" * 32, "alice", JobSpec("ls"), "hash", 0, "latest")

    for step in itertools.count():
        path = tmp_path / str(step) / "db"
        path.parent.mkdir()
        filled_store(path, 300)
        run_to_its_kill(lambda path=path: write_and_die(path))  # type: ignore[misc]
        data = bytearray(path.read_bytes())
        middle = len(data) // 2 // 4096 * 4096
        data[middle : middle + 4096] = bytes(4096)
        path.write_bytes(data)
        assert (path.parent / "db-wal").stat().st_size

        def salvage(path: Path = path, step: int = step) -> None:
            monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=KeepsItsWal))
            kill_at(step, monkeypatch)
            open_store(str(path))

        completed = run_to_its_kill(salvage)
        store, _ = open_store(str(path))
        assert store.find_request("alice", "latest") == "e" * 32, step
        assert len(records(store)) > 200
        store.close()
        names = {each.name for each in path.parent.iterdir()}
        assert "db.damaged-1" in names
        assert not [name for name in names if ".new" in name or ".salvaged" in name]
        if completed:
            break
    assert step >= 5


def test_handles_lost_with_the_database_are_not_given_again(tmp_path: Path) -> None:
    """Nothing is readable: a number that may have been given goes on far above."""
    path = tmp_path / "db"
    handles = set()
    for loss in range(3):
        store, complaints = open_store(str(path))
        assert len(complaints) == (loss > 0)
        store.insert_starting("a" * 32, "alice", JobSpec("ls"), "hash", 0, None)
        handles.add(store.set_running("a" * 32, started(7), "boot"))
        store.close()
        path.write_bytes(b"no database at all" * 1000)
    assert handles == {"7", "7.1000001", "7.2000001"}


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_anywhere_keeps_no_server_down(tmp_path: Path, seed: int) -> None:
    """Hazard: state files flipped at any byte. It opens, and reads what it can."""
    path = tmp_path / "db"
    filled_store(path, 40)
    data = bytearray(path.read_bytes())
    chosen = random.Random(seed)
    # The first hundred bytes are SQLite's header: half of the tries go there.
    position = chosen.randrange(100 if seed % 2 else len(data))
    data[position] ^= 1 << chosen.randrange(8)
    path.write_bytes(data)
    store, _ = open_store(str(path))
    for record in store.load():
        assert isinstance(record, JobRecord | DamagedRecord)
    store.insert_starting("f" * 32, "alice", JobSpec("ls"), "hash", 0, None)
    store.set_running("f" * 32, started(9999), "boot")
    store.close()


@pytest.mark.slow
def test_a_database_that_is_only_locked_is_left_alone(tmp_path: Path) -> None:
    """Not every failure is damage: nothing is renamed."""
    path = tmp_path / "db"
    filled_store(path, 1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError):
        open_store(str(path))
    holder.close()
    assert not list(tmp_path.glob("*.damaged-*"))


STARTING = ("alice", JobSpec("sleep"), "policy", 1, None)


def loaded(path: Path) -> list[str]:
    """What the next start finds."""
    store = Store(str(path))
    try:
        return [record.id for record in store.load()]
    finally:
        store.close()


@pytest.mark.parametrize("endings", [("", "-wal"), ("",), ("-wal",)])
@pytest.mark.parametrize("looked", [True, False])
@pytest.mark.parametrize("keep_reserve", [True, False])
def test_files_that_are_removed_are_written_anew(
    tmp_path: Path,
    endings: tuple[str, ...],
    looked: bool,
    keep_reserve: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Under the open store: the next start finds what came before and after, and it is said."""
    path = tmp_path / "db"
    store = Store(str(path), keep_reserve=keep_reserve)
    store.insert_starting("a", *STARTING)
    for ending in endings:
        Path(f"{path}{ending}").unlink()
    if looked:
        store.keep_in_place()
    else:
        store.insert_starting("b", *STARTING)
    killed = tmp_path / "killed"  # as it lies there when this process is killed
    killed.mkdir()
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", killed / f"db{ending}")
    assert loaded(killed / "db") == (["a"] if looked else ["a", "b"])
    store.insert_starting("c", *STARTING)
    if keep_reserve:
        assert os.stat(f"{path}-wal").st_blocks * 512 >= AHEAD_BYTES // 2
    store.close()
    assert loaded(path) == (["a", "c"] if looked else ["a", "b", "c"])
    assert capfd.readouterr().err.count("was removed under the running server") == 1


def test_another_file_in_its_place_is_left_alone(tmp_path: Path) -> None:
    """Somebody has put it there, so nothing is written to it; once it is gone, all is well."""
    path = tmp_path / "db"
    store = Store(str(path))
    store.insert_starting("a", *STARTING)
    path.rename(tmp_path / "moved")
    path.write_bytes(b"of somebody")
    with pytest.raises(sqlite3.OperationalError, match="was replaced under the running server"):
        store.insert_starting("b", *STARTING)
    assert path.read_bytes() == b"of somebody"
    path.unlink()
    store.insert_starting("b", *STARTING)
    store.close()
    assert loaded(path) == ["a", "b"]


def test_a_directory_that_is_removed_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    """Of the kind that callers know, each time; nothing of what was recorded is lost by it."""
    directory = tmp_path / "state"
    directory.mkdir()
    store = Store(str(directory / "db"))
    store.insert_starting("a", *STARTING)
    shutil.rmtree(directory)
    for _ in range(2):
        with pytest.raises(sqlite3.Error):
            store.insert_starting("b", *STARTING)
    directory.mkdir()
    store.insert_starting("b", *STARTING)
    store.close()
    assert loaded(directory / "db") == ["a", "b"]


@pytest.mark.parametrize("column", ["id", "sequence", "owner", "policy", "handle"])
@pytest.mark.parametrize("value", ["x", b"x", 1.5])
def test_a_value_of_another_type_is_that_row_s_damage(
    tmp_path: Path, column: str, value: object
) -> None:
    """One flipped bit makes it; all that is read of jobs could otherwise not even be put in
    order."""
    path = tmp_path / "db"
    filled_store(path, 3)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM requests")
        db.execute(f"UPDATE jobs SET {column} = ? WHERE sequence = 2", (value,))
        db.commit()
    with closing(Store(str(path))) as store:
        found = [each for each in store.load() if isinstance(each, JobRecord)]
    assert {1, 3} <= {each.sequence for each in found}
    for each in found:
        texts = (each.id, each.owner, each.policy, each.handle)
        assert isinstance(each.sequence, int)
        assert all(isinstance(text, str) for text in texts)
