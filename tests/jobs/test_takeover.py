"""A manager that goes on with the jobs of the one before: C13, over the fake backend."""

import contextlib
import errno
import itertools
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from held_time import held_time

from penstock.jobs.backends.base import HeldJob, JobSpec, Verdict
from penstock.jobs.job import Job
from penstock.jobs.job_errors import Precondition, Unavailable
from penstock.jobs.job_rows import JobRecord
from penstock.jobs.manager import Manager, open_manager
from penstock.jobs.output.cursor import Chunk
from penstock.jobs.output.disk import RealDisk
from penstock.jobs.output.gaps import Gap
from penstock.jobs.output.output_quota import OutputBound
from penstock.jobs.retention_settings import RetentionSettings
from penstock.jobs.states import JobState
from penstock.policy.limit_classes import Enforcement
from penstock.supervisor.ipc.from_supervisor import Changed, FoundChange
from penstock.supervisor.ipc.started import HeldLimits


@asynccontextmanager
async def manager_of(
    tmp_path: Path, backend: FakeBackend, keeping: RetentionSettings | None = None
) -> AsyncIterator[Manager]:
    """Its jobs run on when it ends, as those of a server that was killed."""
    async with open_manager(backend, str(tmp_path / "state"), keeping=keeping) as manager:
        yield manager
        manager.leave()


async def everything(job: Job) -> bytes:
    with job.read_output() as reader:
        return b"".join([piece.data async for piece in reader if isinstance(piece, Chunk)])


async def test_a_job_goes_on_where_it_was(tmp_path: Path) -> None:
    """Handle, owner, output and its order: as if nothing had happened, three times in a row."""
    backend = FakeBackend()
    written = b""
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", JobSpec("sleep"), request_id="once")
        handle, fake = job.handle, backend.jobs[job.id]
    for life in range(3):
        data = b"life %d " % life
        fake.write(data, 1 + life % 2)  # while nobody listens
        written += data
        async with manager_of(tmp_path, backend) as manager:
            job = manager.get(handle, owner="alice")
            assert (job.state, job.started.pid, job.started.argv) == (
                JobState.RUNNING,
                fake.pid,
                ("/bin/sleep",),
            )
            assert manager.find_request("alice", "once") is job
            fake.write(b"heard ", 1 + life % 2)
            written += b"heard "
            with job.read_output() as reader:
                while reader.offset < len(written):
                    await anext(reader)
    async with manager_of(tmp_path, backend) as manager:
        job = manager.get(handle)
        fake.end(Verdict("exited", 7))
        end = await job.wait_finished()
        assert (end.reason, end.exit_code, end.output_bytes) == ("exited", 7, len(written))
        assert await everything(job) == written
        await trio.testing.wait_all_tasks_blocked()
        assert fake.released


async def test_a_job_that_is_started_as_the_server_leaves_is_the_next_ones(tmp_path: Path) -> None:
    """C13b: a planned restart refuses no start that comes while connections drain."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        manager.leave()
        job = await manager.start("alice", JobSpec("sleep"), request_id="once")
    async with manager_of(tmp_path, backend) as manager:
        assert manager.find_request("alice", "once") is manager.get(job.handle, owner="alice")
        assert manager.get(job.handle).state is JobState.RUNNING
        assert not backend.jobs[job.id].signals
        backend.jobs[job.id].end(Verdict("exited", 0))
        await manager.get(job.handle).wait_finished()


@pytest.mark.parametrize("lost", [False, True])
async def test_what_was_accepted_of_its_input_outlives_the_job(
    tmp_path: Path, *, lost: bool
) -> None:
    """Whoever has lost the answer is told by the next server; more of it is refused."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        ended, half, none = [
            await manager.start("alice", JobSpec("sleep", stdin=stdin))
            for stdin in (True, True, False)
        ]
        assert ended.input is not None
        assert half.input is not None
        await ended.input.take(0, b"all of it", end=True)
        await half.input.take(0, b"half")
        if not lost:
            for job in (ended, half, none):
                backend.jobs[job.id].end(Verdict("exited", 0))
                await job.wait_finished()
    if lost:  # as if the machine had been started anew
        for fake in backend.jobs.values():
            backend.release(fake.id)
    async with manager_of(tmp_path, backend) as manager:
        ended, half, none = [manager.get(job.handle) for job in (ended, half, none)]
        assert ended.end is not None
        assert (ended.end.reason == "lost") is lost
        assert ended.input is not None
        assert half.input is not None
        assert none.input is None
        assert (ended.input.accepted, ended.input.ended, ended.input.closed) == (9, True, True)
        ended.input.claim("ann", goes_on=True)
        await ended.input.take(9, b"", end=True)
        assert (half.input.accepted, half.input.ended, half.input.closed) == (4, False, True)
        with pytest.raises(Precondition, match="has ended") as caught:
            half.input.claim()
        assert caught.value.reason == "STDIN_CLOSED"


async def test_who_waits_or_reads_when_it_ends_is_told(tmp_path: Path) -> None:
    """Unavailable, and a stream without an end record; both can be asked for again later."""
    backend = FakeBackend()
    async with trio.open_nursery() as nursery:
        async with manager_of(tmp_path, backend) as manager:
            job = await manager.start("alice", JobSpec("sleep"))

            async def wait() -> None:
                with pytest.raises(Unavailable):
                    await job.wait_finished()

            nursery.start_soon(wait)
            nursery.start_soon(everything, job)
            await trio.testing.wait_all_tasks_blocked()
    assert job.end is None
    backend.release(job.id)


async def test_a_job_that_ended_unheard_has_its_exit_status(tmp_path: Path) -> None:
    """And its last words."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", JobSpec("sleep"))
    backend.jobs[job.id].write(b"last words")
    backend.jobs[job.id].end(Verdict("exited", 3))
    async with manager_of(tmp_path, backend) as manager:
        again = manager.get(job.handle)
        end = await again.wait_finished()
        assert (end.reason, end.exit_code) == ("exited", 3)
        assert await everything(again) == b"last words"


@pytest.mark.held_clock
async def test_a_stop_that_was_under_way_goes_on(tmp_path: Path) -> None:
    """With who asked, why, and a grace: a deaf job is killed by the next server."""
    backend = FakeBackend()
    with held_time():
        async with manager_of(tmp_path, backend) as manager:
            job = await manager.start("alice", JobSpec("stubborn"))
            async with trio.open_nursery() as nursery:

                async def stop() -> None:
                    with contextlib.suppress(trio.Cancelled):
                        await job.stop(by="alice", reason="enough", grace_s=0.1)

                nursery.start_soon(stop)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
    assert backend.jobs[job.id].signals == [15]
    async with manager_of(tmp_path, backend) as manager:
        end = await manager.get(job.handle).wait_finished()
        assert (end.reason, end.stopped_by, end.stop_reason) == ("stopped", "alice", "enough")
        assert end.escalated


async def test_a_process_whose_start_was_not_recorded_is_its_owner_s(tmp_path: Path) -> None:
    """Killed between the fork and the record: the next server gives it its handle."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", JobSpec("sleep"), request_id="once")
        db = manager._store._db
        db.execute("UPDATE jobs SET state = 'starting', handle = NULL, started = NULL")
        db.execute("DELETE FROM handles")
    async with manager_of(tmp_path, backend) as manager:
        (again,) = manager.list("alice")
        assert (again.id, again.handle) == (job.id, str(job.started.pid))
        assert manager.find_request("alice", "once") is again
        backend.jobs[job.id].end(Verdict("exited", 0))
        assert (await again.wait_finished()).exit_code == 0
        (record,) = manager._store.load()
        assert isinstance(record, JobRecord)
        assert record.started is not None
        assert record.started.argv == again.started.argv
        ((row,),) = manager._store._db.execute("SELECT started FROM jobs")
        assert json.loads(row)["boot_id"] == "boot"


async def test_what_nobody_knows_is_ended(tmp_path: Path) -> None:
    """A process without a record, as after a loss of records; its pipes and its input's close."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", JobSpec("sleep", stdin=True))
        manager._store._db.execute("DELETE FROM jobs")
    lines = []
    async with open_manager(
        backend, str(tmp_path / "state"), audit=lambda event, fields: lines.append((event, fields))
    ) as manager:
        assert manager.list(include_finished=True) == []
        assert backend.jobs[job.id].released
    assert ("job.unknown", {"job": job.id, "owner": "alice"}) in lines


async def test_a_running_job_whose_row_is_damaged_is_ended_and_no_other(tmp_path: Path) -> None:
    """C60: no server could say whose it is, or how to stop it. Its request id starts nothing."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        broken = await manager.start("alice", JobSpec("sleep"), request_id="once")
        whole = await manager.start("alice", JobSpec("sleep"))
        statement = "UPDATE jobs SET started = ? WHERE id = ?"
        manager._store._db.execute(statement, ('{"pid": 1}', broken.id))
    lines = []
    async with open_manager(
        backend, str(tmp_path / "state"), audit=lambda event, fields: lines.append((event, fields))
    ) as manager:
        assert backend.jobs[broken.id].released
        assert [job.handle for job in manager.list(include_finished=True)] == [whole.handle]
        with pytest.raises(Precondition) as caught:
            manager.find_request("alice", "once")
        assert caught.value.reason == "REQUEST_DAMAGED"
        assert not backend.jobs[whole.id].released
    events = [event for event, fields in lines if fields.get("job") == broken.id]
    assert events == ["job.damaged", "job.unknown"]
    assert (tmp_path / "state" / "jobs" / broken.id).is_dir()


async def test_running_jobs_without_a_row_after_a_salvage_are_ended(tmp_path: Path) -> None:
    """C60: nothing of the database could be read. Their output stays, for an operator."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", JobSpec("sleep"), request_id="once")
    path = tmp_path / "state" / "penstock.db"
    path.write_bytes(b"no database" + path.read_bytes()[11:])
    lines = []
    async with open_manager(
        backend, str(tmp_path / "state"), audit=lambda event, fields: lines.append((event, fields))
    ) as manager:
        assert backend.jobs[job.id].released
        assert manager.list(include_finished=True) == []
        again = await manager.start("alice", JobSpec("sleep"), request_id="once")
        assert again.handle != job.handle
    events = [event for event, _ in lines[:3]]
    assert events == ["records.damaged", "records.lost", "job.unknown"]
    assert (tmp_path / "state" / "jobs" / job.id).is_dir()


async def test_an_end_that_was_recorded_and_not_released_is_released(tmp_path: Path) -> None:
    """Killed between the record and RELEASE: the record stands."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", JobSpec("sleep"))
        backend.jobs[job.id].end(Verdict("exited", 5))
        end = await job.wait_finished()
    backend.hold_again(job.id)
    async with manager_of(tmp_path, backend) as manager:
        assert manager.get(job.handle).end == end
        assert backend.jobs[job.id].released


class BadDisk(RealDisk):
    """``refuses`` says of which operation and file; with an input/output error."""

    def __init__(self, refuses: Callable[[str, str], bool]) -> None:
        self._refuses = refuses

    def _check(self, operation: str, path: str) -> None:
        if self._refuses(operation, os.path.basename(path)):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    def open(self, path: str, *, create: bool = False) -> int:
        self._check("create" if create else "open", path)
        return super().open(path, create=create)

    def size(self, path: str) -> int:
        self._check("size", path)
        return super().size(path)


FIRST = f"{0:020}"


async def written_and_left(tmp_path: Path, backend: FakeBackend) -> Job:
    """A job that runs on, with six bytes in its log."""
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", JobSpec("sleep"), request_id="once")
        backend.jobs[job.id].write(b"before")
        with job.read_output() as reader:
            await anext(reader)
    return job


async def test_a_log_that_cannot_be_read_is_gone_on_with_behind_it(tmp_path: Path) -> None:
    """What the disk refuses is a gap; the job runs on, and no offset gets other bytes."""
    backend = FakeBackend()
    job = await written_and_left(tmp_path, backend)
    disk = BadDisk(lambda operation, name: (operation, name) == ("open", FIRST + ".index"))
    async with open_manager(backend, str(tmp_path / "state"), disk=disk) as manager:
        again = manager.get(job.handle)
        assert again.state is JobState.RUNNING
        backend.jobs[job.id].write(b"after")
        with again.read_output() as reader:
            gap, chunk = await anext(reader), await anext(reader)
        assert isinstance(gap, Gap)
        assert isinstance(chunk, Chunk)
        assert (gap.start, gap.end) == (0, 6)
        assert (chunk.offset, chunk.data) == (6, b"after")
        backend.jobs[job.id].end(Verdict("exited", 4))
        end = await again.wait_finished()
        assert (end.reason, end.exit_code, end.output_bytes) == ("exited", 4, 11)
        assert [(gap.start, gap.end) for gap in end.gaps] == [(0, 6)]


async def test_a_log_whose_files_open_later_loses_nothing(tmp_path: Path) -> None:
    """The disk fails for the moment in which the writer is to open it again."""
    backend = FakeBackend()
    job = await written_and_left(tmp_path, backend)
    opened = itertools.count()
    disk = BadDisk(
        lambda operation, name: (
            (operation, name) == ("open", FIRST + ".output") and next(opened) == 1
        )  # the first is recovery's
    )
    async with open_manager(backend, str(tmp_path / "state"), disk=disk) as manager:
        again = manager.get(job.handle)
        with again.read_output() as reader:
            first = await anext(reader)
        assert isinstance(first, Chunk)
        assert first.data == b"before"
        backend.jobs[job.id].end(Verdict("exited", 4))
        end = await again.wait_finished()
        assert (end.reason, end.output_bytes, end.gaps, end.sealed) == ("exited", 6, (), True)
        assert await everything(again) == b"before"


async def test_a_log_whose_end_is_unknown_ends_its_job(tmp_path: Path) -> None:
    """Reason output_failed, its true exit status, and what was kept is readable."""
    backend = FakeBackend()
    job = await written_and_left(tmp_path, backend)
    looks = itertools.count()
    disk = BadDisk(
        lambda operation, name: (
            (operation, name) == ("size", FIRST + ".output") and next(looks) == 1
        )  # the first is load's
    )
    backend.jobs[job.id].write(b"unkept")
    async with open_manager(backend, str(tmp_path / "state"), disk=disk) as manager:
        again = manager.get(job.handle)
        assert manager.find_request("alice", "once") is again
        end = await again.wait_finished()
        assert (end.reason, end.signal, end.output_bytes) == ("output_failed", 15, 6)
        assert end.detail == "its output could not be kept: Input/output error"
        assert await everything(again) == b"before"
        await trio.testing.wait_all_tasks_blocked()
        assert backend.jobs[job.id].released
    async with open_manager(backend, str(tmp_path / "state")) as manager:
        assert manager.get(job.handle).end == end
        assert await everything(manager.get(job.handle)) == b"before"


async def test_bounds_go_on(tmp_path: Path) -> None:
    """What was stored before counts; the oldest of it goes."""
    backend = FakeBackend()
    keep = RetentionSettings(lambda _: OutputBound(131_072, "drop_oldest"), client_bytes=10**6)
    async with manager_of(tmp_path, backend, keep) as manager:
        job = await manager.start("alice", JobSpec("sleep"))
    fake = backend.jobs[job.id]
    for _ in range(5):
        fake.write(b"x" * 60_000)
        async with manager_of(tmp_path, backend, keep) as manager:
            job = manager.get(job.handle)
            before = job.output_length
            with job.read_output(before) as reader:
                while reader.offset < 60_000 + before // 60_000 * 60_000:
                    await anext(reader)
            assert manager.history.budget_of("alice").used_bytes == job.log.stored_bytes
            assert job.log.stored_bytes <= 131_072 + 21
    async with manager_of(tmp_path, backend, keep) as manager:
        fake.end(Verdict("exited", 0))
        end = await manager.get(job.handle).wait_finished()
        assert end.output_bytes == 300_000
        assert [gap.reason for gap in end.gaps] == ["retention"]


@pytest.mark.parametrize("name", [".index", ".output"])
async def test_a_server_without_descriptors_leaves_the_jobs_to_the_next(
    tmp_path: Path, name: str
) -> None:
    """What it cannot look at is not damaged for that: no job is ended, no byte declared lost."""
    backend = FakeBackend()
    job = await written_and_left(tmp_path, backend)

    class NoDescriptors(RealDisk):
        def open(self, path: str, *, create: bool = False) -> int:
            if path.endswith(FIRST + name):
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
            return super().open(path, create=create)

    with pytest.raises(Unavailable, match="the next server tries"):
        async with open_manager(backend, str(tmp_path / "state"), disk=NoDescriptors()):
            pass
    assert not backend.jobs[job.id].released
    async with manager_of(tmp_path, backend) as manager:
        again = manager.get(job.handle)
        assert again.state is JobState.RUNNING
        backend.jobs[job.id].end(Verdict("exited", 0))
        assert (await again.wait_finished()).gaps == ()
        assert await everything(again) == b"before"


async def test_limits_that_were_changed_meanwhile_are_written_down(tmp_path: Path) -> None:
    """They are told with the job itself, before the manager knows any; and of a job that runs."""
    entry = Enforcement("cpu", "enforced", "5", "changed from outside")
    change = FoundChange("job", "cpu", "cpu.max", "9", "5", put_back=True)
    changed = Changed("", HeldLimits((entry,)), (change,))

    class Told(FakeBackend):
        async def take_held(self) -> list[HeldJob]:
            held = await super().take_held()
            for each in held:
                self.on_limits_changed(replace(changed, id=each.id))
            return held

    backend = Told()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", JobSpec("sleep"))
    lines: list[tuple[str, dict[str, object]]] = []

    def audit(event: str, about: object) -> None:
        assert isinstance(about, dict)
        if event == "limits.changed":
            lines.append((about["handle"], about))

    async with open_manager(backend, str(tmp_path / "state"), audit=audit) as manager:
        assert [(handle, about["limit"], about["owner"]) for handle, about in lines] == [
            (job.handle, "cpu", "alice")
        ]
        backend.on_limits_changed(replace(changed, id=job.id))
        assert len(lines) == 2
        assert manager.get(job.handle).started.held == HeldLimits((entry,))
        backend.on_limits_changed(replace(changed, id="unknown"))
        assert len(lines) == 2


async def test_watchers_list_where_a_job_is_left_out(tmp_path: Path) -> None:
    """No change says that it is not in the list any more; nor that it is there again. Once each,
    and not at each start."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", JobSpec("sleep"))
        other = await manager.start("alice", JobSpec("sleep"))
        for each in (job, other):
            await each.stop(by="alice")
        query = "SELECT spec FROM jobs WHERE id = ?"
        (spec,) = manager._store._db.execute(query, (job.id,)).fetchone()
    statement = "UPDATE jobs SET spec = ? WHERE id = ?"
    after = None
    for text, lists in ((spec, False), ("{", True), ("{", False), (spec, True), (spec, False)):
        with closing(sqlite3.connect(tmp_path / "state" / "penstock.db")) as db:
            db.execute(statement, (text, job.id))
            db.commit()
        async with manager_of(tmp_path, backend) as manager:
            there = {each.id for each in manager.list("alice", include_finished=True)}
            assert there == {other.id} | ({job.id} if text == spec else set())
            with manager.watch("alice", after) as reader:
                assert reader.must_list() == lists
                assert reader.look(10) == []
                after = reader.position
