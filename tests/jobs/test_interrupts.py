"""^C wherever the job library is: what docs/cancellation.md promises of it (C28) holds.

Over the fake backend, with the real manager, store and log, in a world of its own each time.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import trio
from fake_backend import FakeBackend
from leaks import Descriptors
from sigint import Lines, Steps, pythons_own_handler
from walked import SLEEP, STUBBORN, Told, joined, none_left, read, shorten

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.job import Job
from penstock.jobs.manager import open_manager
from penstock.jobs.output.seek import seek_lines
from penstock.jobs.states import JobState

JOBS = 5


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


class World:
    """One state directory, and a program that uses the library as a program would."""

    def __init__(self, directory: Path, lines: Lines | None = None) -> None:
        self.directory = directory
        self.backend = FakeBackend()
        self.told = Told()
        self._lines = lines

    async def program(self) -> None:
        # Not around trio.run, which is open to ^C as it begins and ends.
        with nullcontext() if self._lines is None else self._lines.watched():
            await self._use()

    async def _use(self) -> None:
        async with open_manager(self.backend, str(self.directory), audit=self.told) as manager:
            jobs = [
                await manager.start("alice", spec, request_id=str(number))
                for number, spec in enumerate(
                    (
                        SLEEP,
                        STUBBORN,
                        SLEEP,
                        JobSpec("print", ("text",)),
                        JobSpec("sleep", stdin=True),
                    )
                )
            ]
            await jobs[0].signal(10)
            await jobs[0].set_paused(True)
            await jobs[0].set_paused(False)
            await self._feed(jobs[4])
            self.backend.jobs[jobs[2].id].write(b"one\ntwo\n")
            with jobs[2].read_output() as reader:
                await anext(reader)
            await seek_lines(jobs[2].log, 1)
            self.backend.jobs[jobs[2].id].end(Verdict("exited", 3))
            await jobs[2].wait_finished()
            await jobs[1].stop(by="alice", grace_s=0.01)
            assert len(manager.list("alice")) <= JOBS
            manager.remove(jobs[2])

    async def _feed(self, job: Job) -> None:
        assert job.input is not None
        sender = job.input.claim()
        try:
            await sender.wait(job.input.take, 0, b"input")
        finally:
            job.input.leave(sender)

    def run(self, **options: Any) -> bool:
        """Was it interrupted? ^C comes out as itself, in no group."""
        try:
            trio.run(self.program, **options)
        except KeyboardInterrupt:
            return True
        return False

    def check(self) -> None:
        """Each job that was begun has one durable end, all are dead, and the records are whole."""
        none_left(self.backend)
        begun = {job for event, job in self.told.lines if event == "job.running"}
        assert {job: self.told.ends(job) for job in begun} == dict.fromkeys(begun, 1)
        assert begun == set(self.backend.jobs)
        gone = {job for event, job in self.told.lines if event == "job.removed"}
        trio.run(self._look_again, begun - gone)

    async def _look_again(self, ids: set[str]) -> None:
        told = Told()
        async with open_manager(FakeBackend(), str(self.directory), audit=told) as manager:
            found = manager.list(include_finished=True)
            assert {job.id for job in found} == ids
            assert told.lines == []  # nothing of it was damaged, lost or not recorded
            for job in found:
                assert job.state is JobState.FINISHED
                assert job.end is not None
                assert job.end.reason in ("exited", "signaled", "stopped")
                assert len(joined(await read(job))) == job.end.output_bytes


def interrupted_at_line(directory: Path, at: int) -> tuple[bool, Lines]:
    lines, fds = Lines(at), Descriptors()
    world = World(directory, lines)
    with pythons_own_handler():
        interrupted = world.run()
        world.check()
    assert fds.opened_since() == {}
    return interrupted, lines


def interrupted_at_step(directory: Path, at: int, again: int) -> bool:
    world, steps, fds = World(directory), Steps(at, again), Descriptors()
    with pythons_own_handler():
        interrupted = world.run(instruments=[steps])
        world.check()
    assert interrupted == steps.reached
    assert fds.opened_since() == {}
    return interrupted


def walk_lines(directory: Path, first: int, stride: int) -> int:
    """How many lines there are."""
    at = first
    while True:
        interrupted, lines = interrupted_at_line(directory / str(at), at)
        assert interrupted == bool(lines.reached), lines.reached
        if not lines.reached:
            return len(lines.seen)
        at += stride


def walk_steps(directory: Path, first: int, stride: int, again: int) -> int:
    """How many steps there are, to a stride."""
    at = first
    while interrupted_at_step(directory / f"{at}-{again}", at, again):
        at += stride
    return at


def test_at_some_lines(tmp_path: Path) -> None:
    """C28: in whatever task the line is."""
    assert walk_lines(tmp_path, 7, 211) > 800


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "first", [3, *(pytest.param(n, marks=pytest.mark.release) for n in range(3))]
)
def test_at_every_line(tmp_path: Path, first: int) -> None:
    """C28: in whatever task the line is; some thousand, and a quarter of them each time."""
    assert walk_lines(tmp_path, first, 4) > 800


@pytest.mark.parametrize("again", [0, 3])
def test_at_some_steps(tmp_path: Path, again: int) -> None:
    """C28: of any task; and again, as the manager is being left for the first one."""
    assert walk_steps(tmp_path, 1 + again, 23, again) > 50


@pytest.mark.slow
@pytest.mark.parametrize("again", [0, 1, 2, 5, 1000])
def test_at_every_step(tmp_path: Path, again: int) -> None:
    """C28: of any task; and again, as the manager is being left for the first one."""
    assert walk_steps(tmp_path, 0, 1, again) > 50
