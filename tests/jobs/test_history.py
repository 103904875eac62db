"""What is kept, for how long, and what happens to who reads what is not kept any more."""

import contextlib
import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.lowlevel
import trio.testing
from fake_backend import FakeBackend
from hypothesis import given
from hypothesis import strategies as st
from patience import patient

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.job import Job
from penstock.jobs.job_errors import JobNotFound, NotGranted, Precondition
from penstock.jobs.manager import Manager, open_manager
from penstock.jobs.output.cursor import Chunk
from penstock.jobs.output.disk import RealDisk
from penstock.jobs.output.gaps import Gap
from penstock.jobs.output.output_quota import OutputBound, OutputBudget
from penstock.jobs.output.retention import Retention, Shelf
from penstock.jobs.retention_settings import RetentionSettings, keeping
from penstock.policy.policy_file import parse_policy


class TellingDisk(RealDisk):
    """Says when a directory is gone, as that happens in a thread."""

    def __init__(self) -> None:
        self._gone: defaultdict[str, trio.Event] = defaultdict(trio.Event)

    def remove_tree(self, path: str) -> None:
        super().remove_tree(path)
        trio.from_thread.run_sync(self._gone[os.path.basename(path)].set)

    async def wait_removed(self, job_id: str) -> None:
        await self._gone[job_id].wait()


@asynccontextmanager
async def managed(
    tmp_path: Path, keep: RetentionSettings, disk: RealDisk | None = None
) -> AsyncIterator[tuple[Manager, FakeBackend]]:
    backend = FakeBackend()
    state = str(tmp_path / "state")
    async with open_manager(backend, state, keeping=keep, disk=disk) as manager:
        yield manager, backend


def bounded(limit_bytes: int | None) -> RetentionSettings:
    return RetentionSettings(lambda _: OutputBound(limit_bytes))


async def printed(manager: Manager, owner: str, size: int = 10) -> Job:
    job = await manager.start(owner, JobSpec("print", ("x" * size,)))
    await job.wait_finished()
    return job


def directories(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "state" / "jobs").iterdir()}


@given(
    ends=st.lists(st.tuples(st.sampled_from(["alice", "bob"]), st.floats(0, 100))),
    keep_s=st.none() | st.floats(0, 100),
    keep_jobs=st.none() | st.integers(0, 5),
)
def test_by_age_and_count(
    ends: list[tuple[str, float]], keep_s: float | None, keep_jobs: int | None
) -> None:
    """What stays is young enough and not too many of each client; what goes is older or as old."""
    shelf = Shelf(Retention(keep_s, keep_jobs))
    jobs = {str(n): each for n, each in enumerate(sorted(ends, key=lambda each: each[1]))}
    for job_id, (owner, ended_at) in jobs.items():
        shelf.add(owner, job_id, ended_at)
    gone = shelf.expired(100.0)
    for job_id in gone:
        shelf.discard(jobs[job_id][0], job_id)
    for owner in ("alice", "bob"):
        own = [jobs[job_id][1] for job_id in shelf.oldest(owner)]
        lost = [jobs[job_id][1] for job_id in gone if jobs[job_id][0] == owner]
        assert keep_jobs is None or len(own) <= keep_jobs
        assert keep_s is None or all(ended_at + keep_s > 100.0 for ended_at in own)
        assert not own or not lost or max(lost) <= min(own)
        if keep_s is None and keep_jobs is None:
            assert not lost
    assert shelf.expired(100.0) == []
    assert shelf.next_expiry() > 100.0


async def test_removed_now(tmp_path: Path) -> None:
    """Its name, record and files go; the number is never given again."""
    disk = TellingDisk()
    async with managed(tmp_path, RetentionSettings(), disk) as (manager, backend):
        job = await printed(manager, "alice")
        running = await manager.start("alice", JobSpec("sleep"))
        with pytest.raises(Precondition) as caught:
            manager.remove(running)
        assert caught.value.reason == "NOT_FINISHED"
        manager.remove(job)
        with pytest.raises(JobNotFound):
            manager.get(job.handle, owner="alice")
        await disk.wait_removed(job.id)
        assert directories(tmp_path) == {running.id}
        backend.next_pid = job.started.pid - 1
        assert (await printed(manager, "alice")).handle == f"{job.started.pid}.2"
    async with managed(tmp_path, RetentionSettings()) as (manager, _):
        assert job.handle not in [each.handle for each in manager.list(include_finished=True)]


async def test_who_reads_a_removed_job_is_told_of_a_gap_and_its_end(tmp_path: Path) -> None:
    """A clear end: every byte is still received or announced."""
    async with managed(tmp_path, RetentionSettings()) as (manager, _):
        job = await printed(manager, "alice", 60_000)
        with job.read_output() as reader, job.read_output(50_000) as late:
            first = await anext(late)
            assert isinstance(first, Chunk)
            manager.remove(job)
            assert [piece async for piece in reader] == [Gap(0, 60_000, "retention")]
            assert [piece async for piece in late] == []


async def test_no_more_than_so_many_are_kept(tmp_path: Path) -> None:
    """Of each client the newest; the others' count for nothing."""
    disk = TellingDisk()
    async with managed(tmp_path, RetentionSettings(retention=Retention(None, 2)), disk) as (
        manager,
        _,
    ):
        jobs = [await printed(manager, owner) for owner in ("bob", "alice", "alice", "alice")]
        await disk.wait_removed(jobs[1].id)
        kept = manager.list(include_finished=True)
        assert [job.handle for job in kept] == [jobs[3].handle, jobs[2].handle, jobs[0].handle]


class DiskThatFreesSlowly(TellingDisk):
    """The first log's reserve is given back only once the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.first = ""

    def trim(self, fd: int, size: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if self.first and self.first in path:
            self.let.wait(patient(30))
        super().trim(fd, size)


async def test_the_oldest_goes_first_though_its_reserve_is_given_back_last(tmp_path: Path) -> None:
    """Jobs stand in the order of their ends, however long the disk takes to free blocks."""
    disk = DiskThatFreesSlowly()
    async with managed(tmp_path, RetentionSettings(retention=Retention(None, 2)), disk) as (
        manager,
        _,
    ):
        jobs = [await manager.start("alice", JobSpec("print", ("x",)))]
        disk.first = jobs[0].id
        await jobs[0].wait_finished()
        jobs += [await printed(manager, "alice") for _ in range(2)]
        await disk.wait_removed(jobs[0].id)
        kept = manager.list(include_finished=True)
        disk.let.set()
        assert [job.handle for job in kept] == [jobs[2].handle, jobs[1].handle]


async def test_removed_while_its_reserve_is_given_back(tmp_path: Path) -> None:
    """It is gone, and is not found among those that could make room."""
    disk = DiskThatFreesSlowly()
    async with managed(tmp_path, RetentionSettings(retention=Retention(None, 2)), disk) as (
        manager,
        _,
    ):
        job = await manager.start("alice", JobSpec("print", ("x",)))
        disk.first = job.id
        await job.wait_finished()
        manager.remove(job)
        disk.let.set()
        others = [await printed(manager, "alice") for _ in range(4)]
        await disk.wait_removed(others[1].id)
        kept = manager.list(include_finished=True)
        assert [each.handle for each in kept] == [others[3].handle, others[2].handle]


async def test_what_is_too_old_goes_by_itself(tmp_path: Path) -> None:
    """A quarter of a second after its end, whether or not anything else happens."""
    disk = TellingDisk()
    async with managed(tmp_path, RetentionSettings(retention=Retention(0.25)), disk) as (
        manager,
        _,
    ):
        job = await printed(manager, "alice")
        await disk.wait_removed(job.id)
        assert trio.current_time() >= job.ended_at + 0.25
        assert manager.list(include_finished=True) == []


async def test_what_became_too_old_while_nothing_ran_goes_at_the_start(tmp_path: Path) -> None:
    """Age is counted over restarts, by the end record's time."""
    async with managed(tmp_path, RetentionSettings()) as (manager, _):
        old = await printed(manager, "alice")
        new = await printed(manager, "alice")
        end = old.end
        assert end is not None
        text = end.to_json().replace(str(end.ended_ns), str(end.ended_ns - 10**13))
        manager._store._db.execute("UPDATE jobs SET end = ? WHERE id = ?", (text, old.id))
    disk = TellingDisk()
    async with managed(tmp_path, RetentionSettings(retention=Retention(3600.0)), disk) as (
        manager,
        _,
    ):
        await disk.wait_removed(old.id)
        assert [job.handle for job in manager.list(include_finished=True)] == [new.handle]


async def test_a_client_s_new_output_pushes_out_its_own_oldest(tmp_path: Path) -> None:
    """Its bytes on the disk stay within its bound; others keep what they have."""
    keep = RetentionSettings(client_bytes=300_000)
    async with managed(tmp_path, keep) as (manager, _):
        bob = await printed(manager, "bob", 60_000)
        jobs = []
        for _ in range(8):
            jobs.append(await printed(manager, "alice", 60_000))
        left = manager.list("alice", include_finished=True)
        assert [job.handle for job in left] == [job.handle for job in jobs[:-6:-1]][: len(left)]
        assert 3 <= len(left) <= 5
        assert manager.list("bob", include_finished=True) == [bob]
        # The newest is whole, although the oldest had to go for it.
        assert jobs[-1].end is not None
        assert jobs[-1].end.gaps == ()
        assert manager.history.budget_of("alice").used_bytes <= 300_000 + 21


async def test_who_uses_most_makes_room_for_all(tmp_path: Path) -> None:
    """The server's bound: a client that fills it loses its own, not another's."""
    keep = RetentionSettings(server_bytes=300_000)
    async with managed(tmp_path, keep) as (manager, _):
        bob = await printed(manager, "bob", 60_000)
        for _ in range(8):
            await printed(manager, "alice", 60_000)
        assert manager.list("bob", include_finished=True) == [bob]
        again = await printed(manager, "bob", 60_000)
        assert manager.list("bob", include_finished=True) == [again, bob]
        assert len(manager.list("alice", include_finished=True)) <= 3


async def test_bounds_hold_over_a_restart(tmp_path: Path) -> None:
    """A smaller bound than before makes room at the start; sizes come from the end records."""
    async with managed(tmp_path, RetentionSettings()) as (manager, _):
        jobs = [await printed(manager, "alice", 60_000) for _ in range(5)]
    async with managed(tmp_path, RetentionSettings(client_bytes=200_000)) as (manager, _):
        left = manager.list("alice", include_finished=True)
        assert [job.handle for job in left] == [job.handle for job in jobs[:1:-1]]
        assert manager.history.budget_of("alice").used_bytes < 200_000


async def test_a_start_that_was_refused_leaves_no_directory(tmp_path: Path) -> None:
    """Nor a record."""
    disk = TellingDisk()
    async with managed(tmp_path, RetentionSettings(), disk) as (manager, backend):
        backend.gate = trio.Event()
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(NotGranted):
                    await manager.start("alice", JobSpec("refused"))

            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            (job_id,) = directories(tmp_path)
            backend.gate.set()
        await disk.wait_removed(job_id)
        assert directories(tmp_path) == set()
        assert list(manager._store.load()) == []


async def test_files_that_were_to_go_go_at_the_next_start(tmp_path: Path) -> None:
    """As of a server that was killed while it removed a job."""
    async with managed(tmp_path, RetentionSettings()) as (manager, _):
        job = await printed(manager, "alice")
        manager._store.delete(job.id)
    disk = TellingDisk()
    async with managed(tmp_path, RetentionSettings(), disk) as (manager, _):
        await disk.wait_removed(job.id)
        assert directories(tmp_path) == set()


@pytest.mark.parametrize("how", ["gone", "empty"])
async def test_output_without_records_is_left_and_said(tmp_path: Path, how: str) -> None:
    """The database is gone: nothing is deleted, and no handle is given again."""
    async with managed(tmp_path, RetentionSettings()) as (manager, backend):
        jobs = [await printed(manager, "alice") for _ in range(3)]
    for ending in ("", "-wal", "-shm"):
        (tmp_path / "state" / f"penstock.db{ending}").unlink(missing_ok=True)
    if how == "empty":
        (tmp_path / "state" / "penstock.db").touch()
    lines: list[str] = []
    for _ in range(2):
        backend = FakeBackend()
        async with open_manager(
            backend, str(tmp_path / "state"), audit=lambda event, _: lines.append(event)
        ) as manager:
            again = await printed(manager, "alice")
            assert again.handle.startswith(f"{backend.next_pid}.")
            assert {job.id for job in jobs} < directories(tmp_path)
    assert lines.count("records.lost") == 1  # not again at each start


async def test_nobody_pushes_out_who_uses_less(tmp_path: Path) -> None:
    """A running job that takes the whole server's room costs its own client, and then itself."""
    keep = RetentionSettings(lambda _: OutputBound(None, "drop_newest"), server_bytes=300_000)
    async with managed(tmp_path, keep) as (manager, backend):
        bobs = [await printed(manager, "bob", 30_000) for _ in range(3)]
        job = await manager.start("mallory", JobSpec("sleep"))
        fake = backend.jobs[job.id]
        for _ in range(10):
            fake.write(b"m" * 60_000)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert job.output_length == 600_000
        assert manager.list("bob", include_finished=True) == bobs[::-1]
        assert [gap.reason for gap in job.log.gaps()] == ["quota"]


async def test_a_job_that_waits_goes_on_when_another_can_be_forgotten(tmp_path: Path) -> None:
    """`wait`: the room is held by a running job; when that ends its output can go."""
    keep = RetentionSettings(lambda _: OutputBound(None, "wait"), client_bytes=150_000)
    async with managed(tmp_path, keep) as (manager, backend):
        first = await manager.start("alice", JobSpec("sleep"))
        second = await manager.start("alice", JobSpec("sleep"))
        for _ in range(2):
            backend.jobs[first.id].write(b"x" * 60_000)
            await trio.testing.wait_all_tasks_blocked(0.01)
        for _ in range(2):
            with contextlib.suppress(BlockingIOError):
                backend.jobs[second.id].write(b"y" * 60_000)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert second.output_length < 60_000
        backend.jobs[first.id].end(Verdict("exited", 0))
        with second.read_output(second.output_length) as reader:
            await anext(reader)
        assert manager.list("alice", include_finished=True) == [second]


async def test_a_bound_of_one_job_is_its_own(tmp_path: Path) -> None:
    """drop_oldest through the whole manager: the end record has the gap, and the digest's range."""
    async with managed(tmp_path, bounded(131_072)) as (manager, backend):
        job = await manager.start("alice", JobSpec("sleep"))
        fake = backend.jobs[job.id]
        for _ in range(6):
            fake.write(b"y" * 50_000)
            await trio.testing.wait_all_tasks_blocked(0.01)
        fake.end(Verdict("exited", 0))
        end = await job.wait_finished()
        (gap,) = end.gaps
        assert (gap.start, gap.reason, end.output_bytes) == (0, "retention", 300_000)
        assert (end.sha256_from, end.sha256_to) == (gap.end, 300_000)
        assert end.stored_bytes <= 131_072 + 21


def test_a_policy_s_bounds_reach_the_log() -> None:
    """A command's own, else the table's; a command that is not there any more has the table's."""
    policy = parse_policy(
        b"""
        [output]
        job = "2MiB"
        client = "unlimited"
        when_full = "wait"
        keep = "2h"
        keep_jobs = 7
        [classes.free]
        [commands.a]
        path = "/bin/a"
        class = "free"
        output = "1MiB"
        when_full = "stop"
        [commands.b]
        path = "/bin/b"
        class = "free"
        """
    )
    keep = keeping(policy)
    assert keep.bound_of(JobSpec("a")) == OutputBound(2**20, "stop")
    assert keep.bound_of(JobSpec("b")) == keep.bound_of(JobSpec("?")) == OutputBound(2**21, "wait")
    assert (keep.client_bytes, keep.server_bytes) == (None, 16 * 2**30)
    assert keep.retention == Retention(7200.0, 7)


def test_a_budget_asks_for_room_before_it_says_no() -> None:
    """And the one above it; what a child uses its parent uses too."""
    asked: list[int] = []

    def reclaim(asking: OutputBudget) -> bool:
        assert asking is client
        asked.append(1)
        server.charge(-50)
        return len(asked) < 3

    server = OutputBudget(100, reclaim=reclaim)
    client = OutputBudget(None, server)
    client.charge(220)
    assert (server.used_bytes, client.room_bytes(), len(asked)) == (220, 30, 3)


async def test_a_record_that_cannot_be_removed_keeps_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused with a word for programs, not asked for again at once, and done later."""
    asked = []

    def full(job_id: str) -> None:
        asked.append(job_id)
        raise sqlite3.OperationalError("database or disk is full")

    async with managed(tmp_path, RetentionSettings()) as (manager, _):
        job = await printed(manager, "alice")
        with monkeypatch.context() as patch:
            patch.setattr(manager._store, "delete", full)
            for _ in range(2):
                with pytest.raises(Precondition) as caught:
                    manager.remove(job)
                assert caught.value.reason == "RECORDS"
        assert asked == [job.id]
        assert manager.get(job.handle, owner="alice") is job
        monkeypatch.setattr(manager.history, "_records_again", trio.current_time())
        manager.remove(job)
        with pytest.raises(JobNotFound):
            manager.get(job.handle, owner="alice")


class Unlooked(list[Job]):
    """None of them may be looked at, because there may be a hundred thousand."""

    def __iter__(self) -> Iterator[Job]:
        raise AssertionError

    __reversed__ = __iter__


async def test_who_runs_is_known_without_a_look_at_what_has_finished(tmp_path: Path) -> None:
    """Of all clients, as each look at the records asks, every five seconds."""
    async with managed(tmp_path, RetentionSettings()) as (manager, _):
        for owner in ("alice", "bob"):
            await printed(manager, owner)
        runs = [await manager.start(owner, JobSpec("sleep", ())) for owner in ("bob", "alice")]
        history = manager.history
        for of in history._by_owner.values():
            of.all = Unlooked(of.all)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(history, "_jobs", None)
            assert manager.list() == runs[::-1]
            assert manager.keep_records_in_place() == ""
        for of in history._by_owner.values():
            of.all = of.all[:]
        assert len(manager.list(include_finished=True)) == 4
        assert len(manager.list("bob", include_finished=True)) == 2


async def test_other_settings_count_from_now_on(tmp_path: Path) -> None:
    """What there is too much of goes, oldest first and in slices; a new job has the new bound, and
    one that runs keeps its own."""
    before = RetentionSettings(lambda _: OutputBound(2**20), client_bytes=2**30)
    async with managed(tmp_path, before) as (manager, _):
        jobs = [await printed(manager, "alice", 30_000) for _ in range(20)]
        bobs = await printed(manager, "bob")
        running = await manager.start("alice", JobSpec("sleep"))
        used = manager.history.budget_of("alice").used_bytes
        few = RetentionSettings(lambda _: OutputBound(2**19), retention=Retention(None, 18))
        manager.use(few)
        await trio.testing.wait_all_tasks_blocked()
        assert set(manager.list(include_finished=True)) == {running, bobs, *jobs[2:]}
        small = RetentionSettings(lambda _: OutputBound(2**19), client_bytes=used // 2)
        manager.use(small)
        await trio.testing.wait_all_tasks_blocked()
        left = manager.list("alice", include_finished=True)
        assert left == [running, *reversed(jobs[-len(left) + 1 :])]
        assert manager.history.budget_of("alice").used_bytes <= used // 2
        assert running.bound == OutputBound(2**20)
        again = await printed(manager, "alice")
        assert again.bound == OutputBound(2**19)


async def test_what_the_next_settings_keep_is_not_forgotten_by_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come between two slices: what is not gone yet stays."""
    monkeypatch.setattr("penstock.jobs.history._FORGOTTEN_A_TURN", 3)
    async with managed(tmp_path, RetentionSettings()) as (manager, _):
        jobs = [await printed(manager, "alice") for _ in range(9)]
        forget, gone = manager.history._forget, []

        def counted(job: Job, why: str) -> bool:
            gone.append(job)
            if len(gone) == 3:
                manager.use(RetentionSettings())
            return forget(job, why)

        monkeypatch.setattr(manager.history, "_forget", counted)
        manager.use(RetentionSettings(retention=Retention(None, 0)))
        await trio.testing.wait_all_tasks_blocked()
        assert gone == jobs[:3]
        assert set(manager.list("alice", include_finished=True)) == set(jobs[3:])


async def test_a_larger_bound_is_room_for_who_waits(tmp_path: Path) -> None:
    """Without a byte that is freed."""
    wait = RetentionSettings(lambda _: OutputBound(None, "wait"), client_bytes=200_000)
    async with managed(tmp_path, wait) as (manager, backend):
        job = await manager.start("alice", JobSpec("sleep"))
        with trio.fail_after(patient(10)):
            while manager.history.budget_of("alice").used_bytes < 200_000:
                with contextlib.suppress(BlockingIOError):
                    backend.jobs[job.id].write(b"x" * 50_000)
                await trio.testing.wait_all_tasks_blocked()
            await trio.testing.wait_all_tasks_blocked()
            length = job.log.length
            manager.use(RetentionSettings(lambda _: OutputBound(None, "wait")))
            await trio.testing.wait_all_tasks_blocked()
            assert job.log.length > length
