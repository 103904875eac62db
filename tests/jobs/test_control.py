"""Signals, pause and the ways of a stop, over the fake backend: C5 to C7, C13."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.job import Job
from penstock.jobs.job_errors import Precondition, Unavailable
from penstock.jobs.manager import Manager, open_manager
from penstock.jobs.output.output_quota import MustStop
from penstock.jobs.states import JobState
from penstock.policy.control_policy import Control
from penstock.supervisor.ipc.from_supervisor import Left

SLEEP = JobSpec("sleep")
STUBBORN = JobSpec("stubborn")


@asynccontextmanager
async def manager_of(tmp_path: Path, backend: FakeBackend) -> AsyncIterator[Manager]:
    """Its jobs run on when it ends, as those of a server that was killed."""
    async with open_manager(backend, str(tmp_path / "state")) as manager:
        yield manager
        manager.leave()


async def leave_during(job: Job, backend: FakeBackend, grace_s: float, count: int) -> None:
    """A stop that is left once the job has had so many signals."""
    async with trio.open_nursery() as nursery:

        async def stop() -> None:
            with contextlib.suppress(trio.Cancelled):
                await job.stop(by="alice", reason="enough", grace_s=grace_s)

        nursery.start_soon(stop)
        for _ in range(count):
            await backend.signaled.acquire()
        nursery.cancel_scope.cancel()


async def test_a_signal_reaches_the_main_process_or_all(tmp_path: Path) -> None:
    """And says how many; nobody is left in a finished job."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", SLEEP)
        fake = backend.jobs[job.id]
        assert (await job.signal(10), await job.signal(1, tree=True)) == (1, 3)
        assert (fake.signals, fake.trees) == ([10, 1], [False, True])
        fake.end(Verdict("exited", 0))
        await job.wait_finished()
        with pytest.raises(Precondition) as caught:
            await job.signal(10)
        assert caught.value.reason == "NOT_RUNNING"


@pytest.mark.parametrize("moment", ["before", "at once"])
async def test_a_signal_and_the_end_at_once(tmp_path: Path, moment: str) -> None:
    """One end record, and no signal to who is gone."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", SLEEP)
        fake = backend.jobs[job.id]
        if moment == "before":
            fake.end(Verdict("exited", 4))  # nobody has told the manager yet
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with contextlib.suppress(Precondition):
                    await job.signal(15)

            nursery.start_soon(send)
            if moment == "at once":
                fake.end(Verdict("exited", 4))
        end = await job.wait_finished()
        assert (end.reason, end.exit_code) == ("exited", 4)
        assert fake.signals == []


async def test_a_stop_that_is_asked_for_again_and_again_is_one(tmp_path: Path) -> None:
    """The shortest grace holds, and the others cost no memory; neither does a repeated one make
    it longer."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", STUBBORN)
        for grace_s in (90.0, 60.0, *[70.0] * 1000):
            job.ask_stop(by="alice", grace_s=grace_s)
        assert job.stop_asked is not None
        assert job.stop_asked.grace_s(5.0) == 60.0
        assert len(repr(vars(job.stop_asked))) < 500
        await trio.testing.wait_all_tasks_blocked()
        assert backend.jobs[job.id].signals == [15]
        end, _ = await job.stop(by="bob", grace_s=0)
        assert (end.stopped_by, end.escalated) == ("alice", True)


async def test_a_stop_is_as_its_command_has_it(tmp_path: Path) -> None:
    """Its signal, to all; a request's signal comes before that."""
    backend = FakeBackend()
    backend.control = Control(stop_signal=2, stop_tree=True)
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", SLEEP)
        end, _ = await job.stop(by="alice", grace_s=0)
        assert end.escalated
        assert (backend.jobs[job.id].signals, backend.jobs[job.id].trees) == ([2, 9], [True])
        job = await manager.start("alice", SLEEP)
        await job.stop(by="alice", number=15)
        assert backend.jobs[job.id].signals == [15]


async def test_a_stop_that_is_not_waited_for_is_durable(tmp_path: Path) -> None:
    """The next server goes on with it; a later stop joins it."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", STUBBORN)
        job.ask_stop(by="alice", reason="enough", grace_s=0.1)
        assert job.state is JobState.STOPPING
    async with manager_of(tmp_path, backend) as manager:
        end, _ = await manager.get(job.handle).stop(by="bob", reason="too late")
        assert (end.stopped_by, end.stop_reason, end.escalated) == ("alice", "enough", True)
        manager.get(job.handle).ask_stop(by="bob")  # it is done


async def test_a_stop_that_cannot_be_recorded_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To who does not wait for it; it goes on all the same."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", SLEEP)

        def full(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(manager._store, "set_stopping", full)
        with pytest.raises(Unavailable, match="under way"):
            job.ask_stop(by="alice")
        assert (await job.wait_finished()).reason == "stopped"


async def test_that_kill_was_needed_outlives_the_server(tmp_path: Path) -> None:
    """KILL was sent, and the server killed before the last process was dead."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", STUBBORN)
        fake = backend.jobs[job.id]
        fake.survives = True
        await leave_during(job, backend, grace_s=0.05, count=2)
    assert fake.signals == [15, 9]
    fake.survives = False
    async with manager_of(tmp_path, backend) as manager:
        end = await manager.get(job.handle).wait_finished()
        assert (end.reason, end.stopped_by, end.escalated) == ("stopped", "alice", True)
    assert fake.signals == [15, 9, 9], "the grace is over; it does not begin again"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [(MustStop(None), "output_full"), (MustStop(OSError(28, "no")), "output_failed")],
)
async def test_why_the_output_stopped_it_outlives_the_server(
    tmp_path: Path, reason: MustStop, expected: str
) -> None:
    """Also if its owner asks for its end after that."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        jobs = [await manager.start("alice", STUBBORN) for _ in range(2)]
        for job in jobs:
            manager._tasks.runners[job.id]._stopping.must_stop(reason)
        jobs[1].ask_stop(by="alice", grace_s=0)
        assert [job.state for job in jobs] == [JobState.STOPPING] * 2
    async with manager_of(tmp_path, backend) as manager:
        for job in jobs:
            again = manager.get(job.handle)
            await again.stop(by="bob", grace_s=0)
            assert again.end is not None
            assert again.end.reason == expected
            assert (expected == "output_failed") == ("No space left" in again.end.detail)
        assert again.end is not None
        assert again.end.stopped_by == "alice"


async def test_a_job_stands_still_until_resume(tmp_path: Path) -> None:
    """Pausing and resuming what is so already is no error; the next server knows of it."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", SLEEP)
        for _ in range(2):
            await job.set_paused(True)
            assert job.paused
    async with manager_of(tmp_path, backend) as manager:
        again = manager.get(job.handle)
        await again.wait_begun()
        assert again.paused
        await again.set_paused(False)
        assert not again.paused
        backend.jobs[job.id].end(Verdict("exited", 0))
        await again.wait_finished()
        for paused in (True, False):
            with pytest.raises(Precondition) as caught:
                await again.set_paused(paused)
            assert caught.value.reason == "NOT_RUNNING"


@pytest.mark.parametrize("server", ["same", "next"])
async def test_a_stop_of_a_paused_job_lets_it_heed_the_signal(tmp_path: Path, server: str) -> None:
    """No KILL is needed; nobody can pause it any more."""
    backend = FakeBackend()
    async with contextlib.AsyncExitStack() as stack:
        manager = await stack.enter_async_context(manager_of(tmp_path, backend))
        job = await manager.start("alice", STUBBORN)
        await job.set_paused(True)
        if server == "next":
            await stack.aclose()
            manager = await stack.enter_async_context(manager_of(tmp_path, backend))
            job = manager.get(job.handle)
            await job.wait_begun()
        job.ask_stop(by="alice", grace_s=60)
        with pytest.raises(Precondition, match="is being stopped"):
            await job.set_paused(True)
        await trio.testing.wait_all_tasks_blocked()
        fake = backend.jobs[job.id]
        assert (fake.signals, fake.paused) == ([15], False)
        fake.end(Verdict("exited", 0))
        assert not (await job.wait_finished()).escalated


async def test_a_job_that_cannot_be_paused_says_why(tmp_path: Path) -> None:
    """NOT_PAUSED, in the backend's words."""
    backend = FakeBackend()
    backend.cannot_pause = "one of them sleeps"
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", SLEEP)
        with pytest.raises(Precondition, match="one of them sleeps") as caught:
            await job.set_paused(True)
        assert caught.value.reason == "NOT_PAUSED"
        backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()


async def test_who_survives_kill_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it waits for; the stop goes on, and the next to ask is told at once."""
    monkeypatch.setattr("penstock.jobs.stop.UNKILLABLE_S", 0.05)
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", STUBBORN)
        fake = backend.jobs[job.id]
        fake.survives = True
        fake.left = [Left(7, "dd", "D", "request_wait_answer"), Left(8, "sh", "D", "")]
        stop = partial(job.stop, by="alice", grace_s=0)
        for _ in range(2):
            with pytest.raises(Precondition) as caught:
                await stop()
            assert caught.value.reason == "UNKILLABLE"
            named = "7 (dd, state D in request_wait_answer), 8 (sh, state D)"
            assert caught.value.about == {"processes": named}
            assert named in str(caught.value)
        assert job.state is JobState.STOPPING
        fake.end(Verdict("signaled", 9))
        assert (await job.wait_finished()).escalated
        assert (await stop())[1], "it is finished"


async def test_who_has_died_at_last_is_not_said_to_survive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop that comes while the end record waits for the disk waits for it, too."""
    monkeypatch.setattr("penstock.jobs.stop.UNKILLABLE_S", 0.05)
    monkeypatch.setattr("penstock.jobs.end_recorder.RECORD_AGAIN_S", 0.01)
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", STUBBORN)
        fake = backend.jobs[job.id]
        fake.survives = True
        fake.left = [Left(7, "dd", "D", "")]
        with pytest.raises(Precondition):
            await job.stop(by="alice", grace_s=0)
        finish = manager._store.set_finished
        tried = trio.Event()

        def full(*_: object) -> None:
            tried.set()
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(manager._store, "set_finished", full)
        fake.end(Verdict("signaled", 9))
        async with trio.open_nursery() as nursery:
            ends: list[object] = []

            async def stop() -> None:
                ends.append(await job.stop(by="alice", grace_s=0))

            nursery.start_soon(stop)
            await tried.wait()
            nursery.start_soon(stop)
            await trio.testing.wait_all_tasks_blocked()
            monkeypatch.setattr(manager._store, "set_finished", finish)
        assert ends == [(job.end, False)] * 2


async def test_input_goes_on_with_the_next_server(tmp_path: Path) -> None:
    """What is accepted, and that it has ended; the job reads all of it once."""
    backend = FakeBackend()
    async with manager_of(tmp_path, backend) as manager:
        job = await manager.start("alice", JobSpec("sleep", stdin=True))
        assert job.input is not None
        await job.input.take(0, b"x" * 30_000)
    async with manager_of(tmp_path, backend) as manager:
        again = manager.get(job.handle)
        await again.wait_begun()
        assert again.input is not None
        assert (again.input.accepted, again.input.closed) == (30_000, False)
        await again.input.take(30_000, b"y", end=True)
    fake = backend.jobs[job.id]
    async with manager_of(tmp_path, backend) as manager:
        again = manager.get(job.handle)
        await again.wait_begun()
        assert again.input is not None
        assert again.input.ended
        assert await fake.read_input() == b"x" * 30_000 + b"y"
        fake.end(Verdict("exited", 0))
        await again.wait_finished()
    backend.release(job.id)
