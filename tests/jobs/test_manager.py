"""Manager and Job over the fake backend: rows C4 to C9, C11, C12, C14 and C17 of the table.

Pipes and the hashing thread are real, so the clock is too (virtual time would jump over
them); graces are short, and nothing waits for time to synchronise. Where something must come
before a grace is over, the test holds the time.
"""

import sqlite3
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from held_time import held_time

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.end_record import EndRecord
from penstock.jobs.job import Job
from penstock.jobs.job_errors import (
    JobError,
    JobNotFound,
    NotGranted,
    Precondition,
    RequestConflict,
    Unavailable,
)
from penstock.jobs.manager import Manager, open_manager
from penstock.jobs.output.cursor import Chunk
from penstock.jobs.output.digest import Digest
from penstock.jobs.output.output_quota import MustStop
from penstock.jobs.output.preallocation import AHEAD_BYTES
from penstock.jobs.states import JobState
from penstock.jobs.store import Store

SLEEP = JobSpec("sleep")
STUBBORN = JobSpec("stubborn")


@pytest.fixture(autouse=True)
def _short_shutdown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.jobs.manager.SHUTDOWN_GRACE_S", 0.1)


class World:
    """A manager, its backend, and every audit line."""

    def __init__(self, backend: FakeBackend) -> None:
        self.backend = backend
        self.lines: list[tuple[str, Mapping[str, Any]]] = []
        self.fail_audit = False
        self.manager: Manager

    def audit(self, event: str, fields: Mapping[str, Any]) -> None:
        if self.fail_audit:
            raise OSError(28, "No space left on device")
        self.lines.append((event, fields))

    def events(self, job: Job) -> list[str]:
        return [event for event, fields in self.lines if fields["job"] == job.id]


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(FakeBackend())
    async with open_manager(made.backend, str(tmp_path / "state"), audit=made.audit) as manager:
        made.manager = manager
        yield made


async def read(job: Job) -> bytes:
    with job.read_output() as reader:
        return b"".join([chunk.data async for chunk in reader if isinstance(chunk, Chunk)])


async def test_a_job_from_start_to_end_record(tmp_path: Path) -> None:
    """C8: output is complete, the record durable, the audit in order, the backend told."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", JobSpec("print", ("hello",)))
        end = await job.wait_finished()
        assert (end.reason, end.exit_code, end.output_bytes) == ("exited", 0, 5)
        assert await read(job) == b"hello"
        assert job.state is JobState.FINISHED
        assert w.events(job) == ["job.starting", "job.running", "job.finished"]
        await trio.testing.wait_all_tasks_blocked()
        assert w.backend.jobs[job.id].released


async def test_readers_end_after_the_end_record_is_there(tmp_path: Path) -> None:
    """C8: nobody sees the end of a stream before the job has one."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", SLEEP)
        ends: list[EndRecord | None] = []

        async def reader() -> None:
            await read(job)
            ends.append(job.end)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(reader)
            await trio.testing.wait_all_tasks_blocked()
            w.backend.jobs[job.id].end(Verdict("exited", 3))
        assert ends == [job.end] * 3
        assert job.end is not None
        assert job.end.exit_code == 3


async def test_stop_asks_first_and_needs_no_kill(tmp_path: Path) -> None:
    """C5: TERM is enough for a job that heeds it."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", SLEEP)
        end, already = await job.stop(by="alice", reason="enough")
        assert (end.reason, end.stopped_by, end.stop_reason) == ("stopped", "alice", "enough")
        assert not end.escalated
        assert not already
        assert w.backend.jobs[job.id].signals == [15]


async def test_stop_kills_after_the_grace(tmp_path: Path) -> None:
    """C5: not before the grace is over, KILL; the record says so."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", JobSpec("stubborn"))
        begin = trio.current_time()
        end, _ = await job.stop(by="alice", grace_s=0.1)
        assert trio.current_time() - begin >= 0.1
        assert end.escalated
        assert w.backend.jobs[job.id].signals == [15, 9]


@pytest.mark.held_clock
async def test_a_caller_that_leaves_does_not_end_the_stop(tmp_path: Path) -> None:
    """C6: completes."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", JobSpec("stubborn"))
        scope = trio.CancelScope()

        async def stop() -> None:
            with scope:
                await job.stop(by="alice", grace_s=0.2)

        with held_time():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stop)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
            assert scope.cancelled_caught
            assert job.state is JobState.STOPPING
        end = await job.wait_finished()
        assert (end.reason, end.escalated) == ("stopped", True)


@pytest.mark.held_clock
async def test_concurrent_and_later_stops_share_one_record(tmp_path: Path) -> None:
    """C7: the first one's name and grace hold; everybody gets the same record."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", JobSpec("stubborn"))
        ends: list[tuple[EndRecord, bool]] = []

        async def stop(by: str, grace_s: float) -> None:
            ends.append(await job.stop(by=by, grace_s=grace_s))

        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            with held_time():
                nursery.start_soon(stop, "first", 0.2)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(stop, "second", 100)
                await trio.testing.wait_all_tasks_blocked()
        assert 0.2 <= trio.current_time() - begin < 50
        ends.append(await job.stop(by="third"))
        assert len({id(end) for end, _ in ends}) == 1
        assert [already for _, already in ends] == [False, False, True]
        assert ends[0][0].stopped_by == "first"
        assert w.events(job).count("job.finished") == 1


async def test_a_stop_races_the_natural_end(tmp_path: Path) -> None:
    """One record, whoever wins."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", JobSpec("stubborn"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: job.stop(by="alice", grace_s=0.05))
            await trio.sleep(0.05)  # the very moment at which the grace ends
            w.backend.jobs[job.id].end(Verdict("exited", 0))
        assert job.end is not None
        assert job.end.reason == "stopped"
        assert w.events(job).count("job.finished") == 1


async def test_a_stop_after_the_natural_end_is_not_what_ended_it(tmp_path: Path) -> None:
    """While leftovers are killed the job says how its main process ended, not who came late."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", SLEEP)
        fake = w.backend.jobs[job.id]
        fake.exited.set()
        await trio.testing.wait_all_tasks_blocked()
        assert job.state is JobState.ENDING
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: job.stop(by="alice"))
            await trio.testing.wait_all_tasks_blocked()
            fake.end(Verdict("exited", 3))
        assert job.end is not None
        assert (job.end.reason, job.end.stopped_by, job.end.exit_code) == ("exited", "", 3)


async def test_a_refusal_that_cannot_be_audited_costs_nobody_anything(tmp_path: Path) -> None:
    """The disk fills between the start's line and its refusal: other jobs live."""
    async with world(tmp_path) as w:
        other = await w.manager.start("alice", SLEEP)
        w.backend.gate = trio.Event()
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(NotGranted):
                    await w.manager.start("alice", JobSpec("refused"))

            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            w.fail_audit = True
            w.backend.gate.set()
        w.fail_audit = False
        assert other.state is JobState.RUNNING


async def test_a_request_id_of_a_start_that_never_was_is_free_after_a_restart(
    tmp_path: Path,
) -> None:
    """The server died between the record and the process."""
    async with world(tmp_path) as w:
        w.manager._store.insert_starting("f" * 32, "alice", SLEEP, "hash", 0, "once")
    async with world(tmp_path) as w:
        assert w.manager.list("alice", include_finished=True) == []
        job = await w.manager.start("alice", SLEEP, request_id="once")
        assert job.state is JobState.RUNNING


async def test_a_start_cancelled_half_way_is_in_the_list(tmp_path: Path) -> None:
    """C4: the job goes on without its caller, and its owner can find and stop it."""
    async with world(tmp_path) as w:
        w.backend.gate = trio.Event()
        scope = trio.CancelScope()

        async def start() -> None:
            with scope:
                await w.manager.start("alice", SLEEP)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
        assert scope.cancelled_caught
        w.backend.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        (job,) = w.manager.list("alice")
        assert w.manager.get(job.handle, owner="alice") is job
        assert job.state is JobState.RUNNING


async def test_a_refused_start_leaves_nothing_to_name(tmp_path: Path) -> None:
    """Its error is the refusal; its request id may be used again."""
    async with world(tmp_path) as w:
        with pytest.raises(NotGranted, match="not granted"):
            await w.manager.start("alice", JobSpec("refused"), request_id="once")
        await trio.testing.wait_all_tasks_blocked()
        assert w.manager.list("alice", include_finished=True) == []
        job = await w.manager.start("alice", SLEEP, request_id="once")
        assert w.manager.list("alice") == [job]


async def test_a_start_that_cannot_be_audited_does_not_happen(tmp_path: Path) -> None:
    """Nothing is asked of the backend."""
    async with world(tmp_path) as w:
        w.fail_audit = True
        with pytest.raises(Unavailable):
            await w.manager.start("alice", SLEEP)
        assert w.backend.jobs == {}
        w.fail_audit = False


async def test_a_replaced_program_is_audited_or_not_run(tmp_path: Path) -> None:
    """The line stands before anything runs; one that cannot be written refuses the start."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", JobSpec("replaced"))
        await job.finished.wait()
        events = [event for event, _ in w.lines]
        assert events[:3] == ["job.starting", "program.replaced", "job.running"]
        about = dict(w.lines[1][1])
        assert about.pop("job") == job.id
        assert about == {
            "owner": "alice",
            "command": "replaced",
            "path": "/bin/replaced",
            "before": "inode 1",
            "now": "inode 2",
        }
        w.backend.gate = trio.Event()
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(Unavailable):
                    await w.manager.start("alice", JobSpec("replaced"))

            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            w.fail_audit = True
            w.backend.gate.set()
        w.fail_audit = False
        assert len(w.backend.jobs) == 1


async def test_one_request_id_is_one_job_also_at_once(tmp_path: Path) -> None:
    """Concurrent repeats wait for the same start; another body is a conflict."""
    async with world(tmp_path) as w:
        w.backend.gate = trio.Event()
        jobs: list[Job] = []

        async def start() -> None:
            jobs.append(await w.manager.start("alice", SLEEP, request_id="once"))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            w.backend.gate.set()
        assert len({job.id for job in jobs}) == 1
        assert len(w.backend.jobs) == 1
        with pytest.raises(RequestConflict):
            await w.manager.start("alice", JobSpec("exit", ("1",)), request_id="once")
        other = await w.manager.start("bob", SLEEP, request_id="once")
        assert other.id != jobs[0].id


async def test_foreign_and_unknown_jobs_are_the_same(tmp_path: Path) -> None:
    """The error's text depends on the handle alone."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", SLEEP)
        for handle, owner in ((job.handle, "bob"), ("1", "alice")):
            with pytest.raises(JobNotFound, match=rf"^Job {handle} not found$"):
                w.manager.get(handle, owner=owner)
        assert w.manager.list("bob") == []


async def test_a_disk_that_refuses_output_ends_the_job_alone(tmp_path: Path) -> None:
    """C9: output_failed with its reason; other jobs and the manager live."""
    async with world(tmp_path) as w:
        other = await w.manager.start("alice", SLEEP)
        job = await w.manager.start("alice", SLEEP)
        w.manager._tasks.runners[job.id]._stopping.must_stop(
            MustStop(OSError(28, "No space left on device"))
        )
        end = await job.wait_finished()
        assert end.reason == "output_failed"
        assert "No space left" in end.detail
        assert other.state is JobState.RUNNING


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [
        (Verdict("exited", 0), "exited"),
        (Verdict("signaled", 11), "signaled"),
        (Verdict("signaled", 9, counters={"oom_kills": 1}), "out_of_memory"),
        (Verdict("exited", 137, counters={"oom_kills": 1}), "out_of_memory"),
        (Verdict("exited", 1, counters={"oom_kills": 1}), "exited"),
        (Verdict("signaled", 9), "signaled"),
        (Verdict("signaled", 15, timed_out=True), "timed_out"),
        (Verdict("lost", detail="the supervisor is gone"), "lost"),
    ],
)
async def test_reasons(tmp_path: Path, verdict: Verdict, reason: str) -> None:
    """What the record says for each way to end; C14 and C17 among them."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", SLEEP)
        w.backend.jobs[job.id].end(verdict)
        end = await job.wait_finished()
        assert end.reason == reason
        assert end.detail == verdict.detail


async def test_leaving_the_manager_stops_what_runs(tmp_path: Path) -> None:
    """C11: bounded by the shutdown's grace, records written."""
    async with world(tmp_path) as w:
        jobs = [await w.manager.start("alice", spec) for spec in (SLEEP, JobSpec("stubborn"))]
    assert [job.end.reason for job in jobs if job.end] == ["stopped"] * 2
    assert {job.end.stopped_by for job in jobs if job.end} == {"server"}


async def test_cancelling_the_manager_still_writes_the_records(tmp_path: Path) -> None:
    """C12: the shield around the stop ends by itself."""
    jobs: list[Job] = []
    with trio.CancelScope() as scope:
        async with world(tmp_path) as w:
            jobs.append(await w.manager.start("alice", SLEEP))
            scope.cancel()
            await trio.sleep_forever()
    assert jobs[0].end is not None
    assert jobs[0].end.reason == "stopped"


async def test_history_survives_and_what_ran_is_lost(tmp_path: Path) -> None:
    """Handles, output and records come back; a job without an end is lost and says why."""
    async with world(tmp_path) as w:
        done = await w.manager.start("alice", JobSpec("print", ("kept",)))
        await done.wait_finished()
    async with world(tmp_path) as w:
        again = w.manager.get(done.handle, owner="alice")
        assert again.end == done.end
        assert again.started.argv == done.started.argv
        assert await read(again) == b"kept"
        running = await w.manager.start("alice", SLEEP)
        w.manager._store._db.execute("UPDATE jobs SET end = NULL WHERE id = ?", (done.id,))
        w.manager._store._db.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (done.id,))
        assert running.handle != done.handle
    async with world(tmp_path) as w:
        lost = w.manager.get(done.handle)
        assert lost.end is not None
        assert lost.end.reason == "lost"
        assert lost.end.detail == "the server ended while the job ran"
        assert ("job.finished", lost.id) in [(e, f["job"]) for e, f in w.lines]


async def test_a_stop_after_the_last_process_did_not_end_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C7, C8, C41: while its output is hashed the job has ended by itself; its record says so."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", SLEEP)
        hashing, go_on = threading.Event(), threading.Event()
        sha256 = Digest.sha256

        def slow(digest: Digest) -> str:
            hashing.set()
            assert go_on.wait(10)
            return sha256(digest)

        monkeypatch.setattr(Digest, "sha256", slow)
        monkeypatch.setattr("penstock.jobs.end_recorder._HASH_HERE_BYTES", -1)
        w.backend.jobs[job.id].end(Verdict("exited", 4))
        assert await trio.to_thread.run_sync(hashing.wait, 10)
        assert job.state is JobState.ENDING
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(job.stop, by="alice"))
            await trio.testing.wait_all_tasks_blocked()
            go_on.set()
        assert job.end is not None
        assert (job.end.reason, job.end.exit_code, job.end.stopped_by) == ("exited", 4, "")


async def test_giving_up_ends_those_who_wait(tmp_path: Path) -> None:
    """C12, C40: a job that survives the end of the manager has no end record, and nobody hangs."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", SLEEP)
        async with trio.open_nursery() as nursery:

            async def waits() -> None:
                with pytest.raises(Unavailable):
                    await job.wait_finished()

            nursery.start_soon(waits)
            nursery.start_soon(read, job)
            await trio.testing.wait_all_tasks_blocked()
            w.manager._tasks.runners[job.id].end_now()
        assert job.end is None
        w.backend.release(job.id)  # the fake's own pipes


async def test_a_log_that_cannot_be_hashed_is_one_jobs_misfortune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C9: its record says so; other jobs and the manager live."""
    async with world(tmp_path) as w:
        other = await w.manager.start("alice", SLEEP)
        job = await w.manager.start("alice", SLEEP)

        def broken(_: Digest) -> str:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Digest, "sha256", broken)
        w.backend.jobs[job.id].end(Verdict("exited", 0))
        end = await job.wait_finished()
        assert (end.reason, end.exit_code, end.output_sha256) == ("exited", 0, "")
        assert "hashed" in end.detail
        assert other.state is JobState.RUNNING


async def test_a_full_store_ends_no_other_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start is refused while nothing can be recorded: its caller hears of it, others live."""
    async with world(tmp_path) as w:
        other = await w.manager.start("alice", SLEEP)

        def full(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(w.manager._store, "delete", full)
        with pytest.raises(JobError):
            await w.manager.start("alice", JobSpec("refused"), request_id="once")
        await trio.testing.wait_all_tasks_blocked()
        assert other.state is JobState.RUNNING
        monkeypatch.undo()
        monkeypatch.setattr("penstock.jobs.manager.SHUTDOWN_GRACE_S", 0.1)


async def test_a_shutdown_does_not_wait_for_a_long_grace(tmp_path: Path) -> None:
    """C7, C11: a stop with a grace of an hour is under way; its record is written all the same."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", JobSpec("stubborn"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(job.stop, by="alice", grace_s=3600))
            await trio.testing.wait_all_tasks_blocked()
            begin = trio.current_time()
            await w.manager.stop_all("server")
        assert trio.current_time() - begin < 5
    assert job.end is not None
    assert (job.end.reason, job.end.stopped_by, job.end.escalated) == ("stopped", "alice", True)


async def test_a_stop_asked_for_while_starting_keeps_the_shortest_grace(tmp_path: Path) -> None:
    """C4, C7: it is carried out as soon as there is a process."""
    async with world(tmp_path) as w:
        w.backend.gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(w.manager.start, "alice", JobSpec("stubborn")))
            await trio.testing.wait_all_tasks_blocked()
            (job,) = w.manager.list("alice")
            nursery.start_soon(partial(job.stop, by="alice", grace_s=3600))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(partial(job.stop, by="alice", grace_s=0))
            await trio.testing.wait_all_tasks_blocked()
            w.backend.gate.set()
        assert job.end is not None
        assert job.end.escalated


async def test_a_descendant_that_does_not_die_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main process heeds TERM, something else sleeps uninterruptibly: UNKILLABLE in bounded
    time, and the job ends when it wakes."""
    monkeypatch.setattr("penstock.jobs.stop.UNKILLABLE_S", 0.05)
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", JobSpec("stubborn"))
        fake = w.backend.jobs[job.id]
        fake.exited.set()
        with pytest.raises(Precondition) as caught:
            await job.stop(by="alice")
        assert caught.value.reason == "UNKILLABLE"
        assert job.state is JobState.ENDING
        fake.end(Verdict("exited", 0))
        assert (await job.wait_finished()).reason == "stopped"


async def test_a_start_that_can_neither_be_logged_nor_recorded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disk full for log and store at once: a JobError, and the request id is free afterwards."""
    async with world(tmp_path) as w:

        def full(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(w.manager._store, "delete", full)
            w.fail_audit = True
            with pytest.raises(Unavailable):
                await w.manager.start("alice", SLEEP, request_id="once")
            w.fail_audit = False
        job = await w.manager.start("alice", SLEEP, request_id="once")
        assert job.state is JobState.RUNNING


async def test_a_damaged_record_costs_no_other_job(tmp_path: Path) -> None:
    """It is audited and left out; the rest of the history is served."""
    async with world(tmp_path) as w:
        jobs = [await w.manager.start("alice", JobSpec("exit", ("0",))) for _ in range(3)]
        for job in jobs:
            await job.wait_finished()
        statement = "UPDATE jobs SET started = ? WHERE id = ?"
        w.manager._store._db.execute(statement, ('{"pid": 1}', jobs[1].id))
    async with world(tmp_path) as w:
        handles = [job.handle for job in w.manager.list("alice", include_finished=True)]
        assert handles == [jobs[2].handle, jobs[0].handle]
        assert ("job.damaged", jobs[1].id) in [(e, f["job"]) for e, f in w.lines]


async def test_a_damaged_record_s_request_id_starts_nothing_again(tmp_path: Path) -> None:
    """Which job it has started cannot be said any more; that it has is known."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", JobSpec("exit", ("0",)), request_id="once")
        await job.wait_finished()
        statement = "UPDATE jobs SET spec = ? WHERE id = ?"
        w.manager._store._db.execute(statement, ("{", job.id))
    async with world(tmp_path) as w:
        with pytest.raises(Precondition) as caught:
            await w.manager.start("alice", JobSpec("exit", ("0",)), request_id="once")
        assert caught.value.reason == "REQUEST_DAMAGED"
        assert w.manager.list("alice", include_finished=True) == []
        assert (await w.manager.start("bob", SLEEP, request_id="once")).state is JobState.RUNNING


async def test_a_bug_in_one_job_s_task_is_that_job_s_misfortune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C39: it is killed and given up, and its waiters hear of it; other jobs and the manager live.
    Its record is kept as long as those of others, from now on."""
    async with world(tmp_path) as w:
        other = await w.manager.start("alice", SLEEP)
        job = await w.manager.start("alice", SLEEP)
        with monkeypatch.context() as patch:
            patch.setattr(
                "penstock.jobs.output.output_quota.Intake.take", None
            )  # calling it is a TypeError
            w.backend.jobs[job.id].write(b"x")
            assert (await job.wait_finished()).reason == "lost"
        assert w.backend.jobs[job.id].signals == [9]
        await trio.testing.wait_all_tasks_blocked()
        assert w.backend.jobs[job.id].released
        assert trio.current_time() - 60 < job.ended_at <= trio.current_time()
        assert other.state is JobState.RUNNING
        assert (await w.manager.start("alice", JobSpec("print", ("x",)))).handle


@pytest.mark.parametrize(("where", "command"), [("_refused", "refused"), ("_begin", "sleep")])
async def test_a_bug_as_a_job_starts_is_that_job_s_misfortune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, command: str
) -> None:
    """C39: nothing of it runs or is listed as if it did, its caller is answered; others live."""
    async with world(tmp_path) as w:
        other = await w.manager.start("alice", SLEEP)
        with monkeypatch.context() as patch:
            patch.setattr(f"penstock.jobs.lifecycle.JobRunner.{where}", None)
            with pytest.raises(Unavailable, match="a mistake of the server's own"):
                await w.manager.start("alice", JobSpec(command), request_id="once")
        await trio.testing.wait_all_tasks_blocked()
        assert w.manager.list("alice", include_finished=True) == [other]
        assert all(job.released for job in w.backend.jobs.values() if job.id != other.id)
        assert other.state is JobState.RUNNING
        again = await w.manager.start("alice", STUBBORN, request_id="once")
        assert again.state is JobState.RUNNING


async def test_a_shutdown_takes_no_more_starts(tmp_path: Path) -> None:
    """C11: the caller is told to try again; nothing was begun for it."""
    async with world(tmp_path) as w:
        await w.manager.stop_all("test")
        with pytest.raises(Unavailable, match="shutting down"):
            await w.manager.start("alice", SLEEP)
        assert w.backend.jobs == {}


async def test_records_that_nobody_can_open_are_said(tmp_path: Path) -> None:
    """By their path, before anything is asked of the supervisor; the directory is free again."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "penstock.db").mkdir()
    with pytest.raises(Unavailable, match=r"penstock\.db cannot be opened"):
        async with world(tmp_path):
            pass
    (tmp_path / "state" / "penstock.db").rmdir()
    async with world(tmp_path):
        pass


async def test_what_a_supervisor_has_swept_and_what_was_salvaged_is_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, before anything else, so that whoever reads the log knows what is missing."""
    swept = {"jobs": ["a" * 32], "processes": 3, "groups_left": 0}
    async with world(tmp_path) as w:
        await (await w.manager.start("alice", JobSpec("exit", ("0",)))).wait_finished()
    path = tmp_path / "state" / "penstock.db"
    path.write_bytes(b"no database" + path.read_bytes()[11:])
    lines: list[tuple[str, Mapping[str, Any]]] = []
    backend = FakeBackend()
    told = {**backend.capabilities(), "swept": swept}
    monkeypatch.setattr(backend, "capabilities", lambda: told)
    async with open_manager(
        backend, str(tmp_path / "state"), audit=lambda *line: lines.append(line)
    ):
        pass
    assert [event for event, _ in lines[:2]] == ["records.damaged", "groups.swept"]
    assert "penstock.db is damaged" in lines[0][1]["message"]
    assert lines[1][1] == swept


async def test_last_words_do_not_wait_for_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that cannot be written hold up the end of a stream, not the bytes before it."""
    monkeypatch.setattr("penstock.jobs.end_recorder.RECORD_AGAIN_S", 0.01)
    # After its first move the log's task rests, so that what comes then is drained at the end.
    monkeypatch.setattr("penstock.jobs.output.capture.COALESCE_S", 60.0)
    monkeypatch.setattr("penstock.jobs.output.capture._FREE_WAKES", 0)
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", SLEEP)
        told, got = trio.Event(), bytearray()
        writable = False
        write = Store.set_finished

        def set_finished(store: Store, job_id: str, end: EndRecord) -> None:
            if not writable:
                raise sqlite3.OperationalError("database or disk is full")
            write(store, job_id, end)

        monkeypatch.setattr(Store, "set_finished", set_finished)

        async def follow() -> None:
            with job.read_output() as reader:
                async for piece in reader:
                    assert isinstance(piece, Chunk)
                    got.extend(piece.data)
                    if got.endswith(b"words"):
                        told.set()
                assert job.end is not None

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            fake = w.backend.jobs[job.id]
            fake.write(b"first, ")
            while not got:
                await trio.testing.wait_all_tasks_blocked()
            fake.write(b"last words")
            fake.end(Verdict("exited", 0))
            await told.wait()
            assert job.end is None
            writable = True


async def test_a_job_that_has_ended_keeps_no_blocks_ahead(tmp_path: Path) -> None:
    """While it runs its log has a reserve; afterwards its files take what they have."""

    def blocks_bytes() -> int:
        (jobs,) = (tmp_path / "state" / "jobs").iterdir()
        return sum(path.stat().st_blocks * 512 for path in jobs.iterdir())

    async with world(tmp_path) as w:
        job = await w.manager.start("alice", SLEEP)
        assert blocks_bytes() >= AHEAD_BYTES
        w.backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
    assert blocks_bytes() < AHEAD_BYTES // 8


async def test_a_job_that_starts_as_the_manager_ends_is_stopped_too(tmp_path: Path) -> None:
    """C32: it has no process yet when it is asked to stop, and is stopped as soon as it has one;
    its caller has its handle all the same."""
    async with world(tmp_path) as w:
        w.backend.gate = trio.Event()
        told: list[Job] = []

        async def start() -> None:
            told.append(await w.manager.start("alice", SLEEP))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(w.manager.stop_all, "server")
            await trio.testing.wait_all_tasks_blocked()
            (job,) = w.manager.list("alice")
            assert job.state is JobState.STARTING
            w.backend.gate.set()
    assert told == [job]
    assert job.handle
    assert job.end is not None
    assert (job.end.reason, job.end.stopped_by, job.end.stop_reason) == (
        *("stopped", "server"),
        "shutdown",
    )


async def test_a_start_that_hangs_does_not_hold_up_the_end_of_the_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C32: beyond the bound its caller is sent to the next server, which knows what became of
    it: here nothing."""
    monkeypatch.setattr("penstock.jobs.manager.UNKILLABLE_S", 0.1)
    async with world(tmp_path) as w:
        w.backend.gate = trio.Event()
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(Unavailable, match="ask the next one"):
                    await w.manager.start("alice", SLEEP, request_id="once")

            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            await w.manager.stop_all("server")
    async with world(tmp_path) as w:
        assert w.manager.list("alice", include_finished=True) == []
        job = await w.manager.start("alice", SLEEP, request_id="once")
        assert job.state is JobState.RUNNING


@pytest.mark.parametrize("how", ["raises", "is cancelled"])
async def test_however_its_block_is_left_the_manager_stops_its_jobs(
    tmp_path: Path, how: str
) -> None:
    """C40: with a record for each that is durable when the block is left; what the block raised
    comes out as it is."""
    jobs: list[Job] = []

    async def block() -> None:
        async with world(tmp_path) as w:
            jobs.extend([await w.manager.start("alice", each) for each in (SLEEP, STUBBORN)])
            if how == "raises":
                raise ZeroDivisionError("of the block")
            scope.cancel()
            await trio.sleep_forever()

    with trio.CancelScope() as scope:
        if how == "raises":
            with pytest.raises(ZeroDivisionError, match="of the block"):
                await block()
        else:
            await block()
    assert scope.cancelled_caught is (how == "is cancelled")
    assert [job.end.escalated for job in jobs if job.end] == [False, True]
    async with world(tmp_path) as w:
        known = w.manager.list("alice", include_finished=True)
        assert [job.end.reason for job in known if job.end] == ["stopped", "stopped"]


async def test_who_is_said_to_have_ended_a_job(tmp_path: Path) -> None:
    """C41: a stop that was asked for before the main process is known to have exited, though the
    signal came too late to matter; no caller, if it was asked for after that."""
    async with world(tmp_path) as w:
        before, after = [await w.manager.start("alice", STUBBORN) for _ in range(2)]
        before.ask_stop(by="alice", reason="enough")
        w.backend.jobs[before.id].end(Verdict("exited", 0))
        w.backend.jobs[after.id].end(Verdict("exited", 0))
        await trio.testing.wait_all_tasks_blocked()
        assert after.state is not JobState.RUNNING
        after.ask_stop(by="alice", reason="enough")
        ends = [await job.wait_finished() for job in (before, after)]
    assert [(end.reason, end.stopped_by, end.stop_reason, end.exit_code) for end in ends] == [
        ("stopped", "alice", "enough", 0),
        ("exited", "", "", 0),
    ]


async def test_a_second_manager_of_a_directory_is_refused(tmp_path: Path) -> None:
    """C55: before it has read or asked anything; the first one goes on."""
    async with world(tmp_path) as w:
        job = await w.manager.start("alice", SLEEP)
        before = len(w.lines)
        with pytest.raises(Unavailable, match="in use"):
            async with world(tmp_path):
                pass
        assert (job.state, len(w.lines)) == (JobState.RUNNING, before)
