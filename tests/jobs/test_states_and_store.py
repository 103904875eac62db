"""The life cycle table and the records."""

import itertools
from pathlib import Path

import pytest

from penstock.jobs.backend import JobSpec, Started
from penstock.jobs.errors import Unavailable
from penstock.jobs.records import EndRecord
from penstock.jobs.states import TRANSITIONS, Event, IllegalTransition, State, after
from penstock.jobs.store import Store, lock_directory
from penstock.supervisor.limits import Enforcement, Limits


def test_every_state_is_reachable_and_only_finished_is_final() -> None:
    """The table has no dead ends and no islands."""
    reached = {State.STARTING}
    while new := {to for of in reached for to in TRANSITIONS[of].values()} - reached:
        reached |= new
    assert reached == set(State)
    assert [state for state in State if not TRANSITIONS[state]] == [State.FINISHED]


def test_there_is_no_way_back() -> None:
    """States are ordered, and every event keeps the order."""
    order = {state: number for number, state in enumerate(State)}
    for state, event in itertools.product(State, Event):
        if event in TRANSITIONS[state]:
            assert order[after(state, event)] >= order[state]
        else:
            with pytest.raises(IllegalTransition):
                after(state, event)


def started(pid: int) -> Started:
    return Started(
        pid=pid,
        start_ticks=1,
        started_ns=2,
        argv=("/bin/true",),
        class_name="small",
        limits=Limits(cpu_cores=0.1),
        enforcement=(Enforcement("cpu", "enforced", "10000us"),),
        usage_files={},
        grace_s=1,
        stdout_fd=-1,
        stderr_fd=-1,
    )


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
    (record,) = store.load()
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
    (record,) = store.load()
    assert record.end == EndRecord("lost", 1)
    store.close()


def test_a_state_directory_has_one_holder(tmp_path: Path) -> None:
    """The second is told which directory, and gets it once the first has left."""
    with lock_directory(str(tmp_path)):
        with pytest.raises(Unavailable, match=str(tmp_path)), lock_directory(str(tmp_path)):
            pass
    with lock_directory(str(tmp_path)):
        pass
