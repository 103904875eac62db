"""Cancelled at every step: what docs/cancellation.md promises holds.

Over the fake backend, with the real manager, store and log. Each walk begins anew for each step,
and ends when the operation had no such step any more.
"""

from pathlib import Path

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from steps import at_every, before_step_of, cancelled_at
from walked import SLEEP, STUBBORN, Told, joined, managed, none_left, read, shorten

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.job import Job
from penstock.jobs.output.cursor import Chunk
from penstock.jobs.states import JobState


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


async def test_start(tmp_path: Path) -> None:
    """C4: one job that its owner can list, or nothing; its request id says which."""
    outcomes = set()

    async def attempt(step: int) -> bool:
        backend = FakeBackend()
        async with managed(tmp_path / str(step), backend) as manager:

            async def operation() -> None:
                await manager.start("alice", SLEEP, request_id="once")

            reached = await cancelled_at(step, operation)
            await trio.testing.wait_all_tasks_blocked()
            found = manager.list(owner="alice", include_finished=True)
            assert len(found) == len(backend.jobs) <= 1
            outcomes.add((reached, len(found)))
            again = await manager.start("alice", SLEEP, request_id="once")
            assert again is (found[0] if found else again)
            assert len(backend.jobs) == 1
        none_left(backend)
        return reached

    assert await at_every(attempt) >= 2
    assert outcomes == {(True, 1), (False, 1)}  # what is asked for is begun before any checkpoint


async def test_stop(tmp_path: Path) -> None:
    """C5 to C7: it goes on though its caller has left, to one end for all who ask."""
    left_after = set()

    async def attempt(step: int) -> bool:
        backend, told = FakeBackend(), Told()
        async with managed(tmp_path / str(step), backend, told) as manager:
            job = await manager.start("alice", STUBBORN)

            async def operation() -> None:
                await job.stop(by="alice", grace_s=0.01)

            reached = await cancelled_at(step, operation)
            left_after.add(tuple(backend.jobs[job.id].signals))
            end = await job.wait_finished()
            assert (end.reason, end.stopped_by) == ("stopped", "alice")
            assert backend.jobs[job.id].signals == [15, 9]
            assert (await job.stop(by="bob"))[0] is end
            assert told.ends(job.id) == 1
        none_left(backend)
        return reached

    assert await at_every(attempt) >= 8
    assert left_after == {(15,), (15, 9)}


@pytest.mark.parametrize("what", ["signal", "pause", "resume"])
async def test_signals_and_pauses(tmp_path: Path, what: str) -> None:
    """C18: what is asked for is on its way before any checkpoint."""

    async def attempt(step: int) -> bool:
        backend = FakeBackend()
        async with managed(tmp_path / str(step), backend) as manager:
            job = await manager.start("alice", SLEEP)
            fake = backend.jobs[job.id]
            fake.paused = what == "resume"

            async def operation() -> None:
                if what == "signal":
                    await job.signal(10)
                else:
                    await job.set_paused(what == "pause")

            reached = await cancelled_at(step, operation)
            await trio.testing.wait_all_tasks_blocked()
            assert fake.signals == ([10] if what == "signal" else [])
            assert fake.paused == (what == "pause")
        none_left(backend)
        return reached

    assert await at_every(attempt) >= 2


async def test_stream(tmp_path: Path) -> None:
    """C1: what it was told is the beginning of the output; the next one has all of it."""

    async def attempt(step: int) -> bool:
        backend = FakeBackend()
        async with managed(tmp_path / str(step), backend) as manager:
            job = await manager.start("alice", SLEEP)
            fake, got = backend.jobs[job.id], bytearray()

            async def operation() -> None:
                with job.read_output() as reader:
                    async for piece in reader:
                        assert isinstance(piece, Chunk)
                        assert piece.offset == len(got)
                        got.extend(piece.data)

            async with trio.open_nursery() as nursery:

                async def write() -> None:
                    for part in (b"one ", b"two ", b"three"):
                        fake.write(part)
                        await trio.testing.wait_all_tasks_blocked()
                    fake.end(Verdict("exited", 0))

                nursery.start_soon(write)
                reached = await cancelled_at(step, operation)
            end = await job.wait_finished()
            assert end.output_bytes == 13
            assert job.log.statistics()["readers"] == 0
            assert b"one two three".startswith(got)
            assert joined(await read(job, len(got))) == b"one two three"[len(got) :]
            assert reached or got == b"one two three"
        return reached

    assert await at_every(attempt) >= 8


async def test_send(tmp_path: Path) -> None:
    """C19: what is accepted is the job's, to the byte; the next one goes on after it."""
    data = bytes(range(256)) * 600  # more than two pipes hold

    async def attempt(step: int) -> bool:
        backend = FakeBackend()
        async with managed(tmp_path / str(step), backend) as manager:
            job = await manager.start("alice", JobSpec("sleep", stdin=True))
            given, got = job.input, bytearray()
            assert given is not None

            async def operation() -> None:
                sender = given.claim()
                try:
                    for offset in range(0, len(data), 40_000):
                        piece = data[offset : offset + 40_000]
                        await sender.wait(given.take, offset, piece)
                finally:
                    given.leave(sender)

            async def job_reads() -> None:
                got.extend(await backend.jobs[job.id].read_input())

            async with trio.open_nursery() as nursery:
                nursery.start_soon(job_reads)
                reached = await cancelled_at(step, operation)
                accepted = given.accepted
                assert reached or accepted == len(data)
                given.claim()
                await given.take(accepted, data[accepted:], end=True)
            assert bytes(got) == data
        none_left(backend)
        return reached

    assert await at_every(attempt) >= 8


@pytest.mark.slow
async def test_takeover(tmp_path: Path) -> None:
    """C13: whoever is cancelled as it takes jobs over, the next has them, with every byte."""

    async def attempt(step: int) -> bool:
        backend, told = FakeBackend(), Told()
        directory = tmp_path / str(step)
        async with managed(directory, backend, told) as manager:
            jobs = [await manager.start("alice", SLEEP) for _ in range(2)]
            manager.leave()
        handles = [job.handle for job in jobs]
        for number, job in enumerate(jobs):
            backend.jobs[job.id].write(b"unheard %d" % number)

        async def operation() -> None:
            async with managed(directory, backend, told) as manager:
                manager.leave()
                await trio.lowlevel.checkpoint()
                assert [manager.get(handle).state for handle in handles] == [JobState.RUNNING] * 2

        reached = await cancelled_at(step, operation)
        async with managed(directory, backend, told) as manager:
            for number, handle in enumerate(handles):
                job = manager.get(handle, owner="alice")
                assert job.state is JobState.RUNNING
                backend.jobs[job.id].end(Verdict("exited", number))
                end = await job.wait_finished()
                assert (end.reason, end.exit_code) == ("exited", number)
                assert joined(await read(job)) == b"unheard %d" % number
                assert told.ends(job.id) == 1
        none_left(backend)
        return reached

    assert await at_every(attempt) >= 12


@pytest.mark.parametrize("task", ["jobs.output.capture.reader_task", "JobTasks.run"])
async def test_leaving_as_output_comes(tmp_path: Path, task: str) -> None:
    """C13: the server lets the job go in the moment in which its reader, or the task that drains
    it, has been woken: what the pipe has is the next server's, and what the log has stays."""
    backend, told, left = FakeBackend(), Told(), False
    async with managed(tmp_path, backend, told) as manager:
        job = await manager.start("alice", SLEEP)
        fake = backend.jobs[job.id]
        fake.write(b"one ")
        with job.read_output() as reader:
            await anext(reader)

        def leave() -> None:
            nonlocal left
            manager.leave()
            with pytest.raises(StopIteration):  # nothing is stopped, so nothing is waited for
                manager.stop_all("server").send(None)
            left = True

        await trio.testing.wait_all_tasks_blocked()
        before_step_of(task, leave)
        fake.write(b"two")
        if task == "JobTasks.run":
            fake.end(Verdict("exited", 3))
        await trio.testing.wait_all_tasks_blocked()
        assert left
        assert job.end is None
    async with managed(tmp_path, backend, told) as manager:
        job = manager.get(job.handle)
        fake.end(Verdict("exited", 3))
        end = await job.wait_finished()
        assert (end.reason, end.exit_code, end.output_bytes) == ("exited", 3, 7)
        assert joined(await read(job)) == b"one two"
        assert told.ends(job.id) == 1


@pytest.mark.slow
async def test_shutdown(tmp_path: Path) -> None:
    """C11, C12: however soon it is cancelled, jobs are dead and each has one end record."""

    async def attempt(step: int) -> bool:
        backend, told = FakeBackend(), Told()
        directory = tmp_path / str(step)
        started: list[Job] = []

        async def operation() -> None:
            # The walk is through the end: the starts are shielded from it.
            async with managed(directory, backend, told) as manager:
                with trio.CancelScope(shield=True):
                    for spec in (SLEEP, STUBBORN, JobSpec("print", ("text",))):
                        started.append(await manager.start("alice", spec))

        reached = await cancelled_at(step, operation)
        none_left(backend)
        for job in started:
            assert job.end is not None
            assert told.ends(job.id) == 1
        async with managed(directory, backend) as manager:
            for job in started:
                assert manager.get(job.handle).end == job.end
                expected = b"text" if job.spec.command == "print" else b""
                assert joined(await read(manager.get(job.handle))) == expected
        return reached

    assert await at_every(attempt) >= 30
