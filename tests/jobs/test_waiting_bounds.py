"""What waits for a supervisor or a disk that stands still: how much of it there can be, and that
nobody else waits with it."""

import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from patience import patient
from supervisor_end import JOB, Supervisor, connected
from walked import SLEEP, managed

from penstock.jobs import end_recorder, file_removals
from penstock.jobs.backends.base import JobSpec, StartRefused
from penstock.jobs.backends.local import LocalBackend
from penstock.jobs.backends.requests import _MOST_UNANSWERED
from penstock.jobs.backends.supervisor_connection import _MOST_WAITING_BYTES
from penstock.jobs.job import Job
from penstock.jobs.job_errors import Unavailable
from penstock.jobs.output.digest import Digest
from penstock.jobs.output.digest_threads import DIGEST_THREADS
from penstock.jobs.output.disk import RealDisk

FLOOD = _MOST_UNANSWERED + 200


async def flood(backend: LocalBackend) -> list[str]:
    """Requests of clients who leave at once, and ask again; what those were told that were not
    taken."""
    refused: list[str] = []
    for _ in range(FLOOD):
        with trio.move_on_after(0):  # what it asked stays asked, as C18 says
            try:
                await backend.signal(JOB, 1)
            except Unavailable as error:
                refused.append(str(error))
    return refused


async def test_a_supervisor_that_stands_still_is_asked_so_much() -> None:
    """C25: then clients are told, whose callers have left or not; what jobs need for their ends is
    never refused; and when it goes on, everybody is answered."""
    async with connected() as (backend, supervisor):
        refused = await flood(backend)
        assert len(refused) == FLOOD - _MOST_UNANSWERED
        assert "does not take requests now; nothing was done" in refused[0]
        with pytest.raises(Unavailable):
            await backend.set_paused(JOB, True)
        answer = await backend.start("b" * 32, JobSpec("sleep"), "alice")
        assert isinstance(answer, StartRefused)
        assert "nothing was done" in answer.message
        done: list[str] = []

        async def needed(name: str) -> None:
            await asks[name]()
            done.append(name)

        asks: dict[str, Callable[[], Awaitable[object]]] = {
            "stop": partial(backend.signal, JOB, 15, kill_after_s=1.0),
            "resume": partial(backend.set_paused, JOB, False),
            "kill": partial(backend.kill, JOB),
            "inspect": partial(backend.inspect, JOB),
        }
        async with trio.open_nursery() as nursery:
            for name in asks:
                nursery.start_soon(needed, name)
            await trio.testing.wait_all_tasks_blocked()
            assert done == []
            with trio.fail_after(patient(20)):
                await answer_all(supervisor, _MOST_UNANSWERED + 4)
        assert sorted(done) == ["inspect", "kill", "resume", "stop"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(backend.signal, JOB, 1))  # there is room again
            await trio.testing.wait_all_tasks_blocked()
            await answer_all(supervisor, 1)


async def answer_all(supervisor: Supervisor, count: int) -> None:
    while count:
        try:
            message = supervisor.heard()
        except BlockingIOError:
            await trio.lowlevel.checkpoint()
            continue
        count -= 1
        answers: dict[str, tuple[str, dict[str, Any]]] = {
            "SIGNAL": ("SIGNALED", {"count": 1}),
            "PAUSE": ("PAUSED", {"paused": False, "message": ""}),
            "KILL": ("KILLED", {"count": 1}),
            "INSPECT": ("INSPECTED", {"processes": []}),
        }
        kind, about = answers[message["type"]]
        # The other end reads no faster, and nothing tells that it has.
        while not supervisor.has_said(kind, id=JOB, **about):  # noqa: ASYNC110 - see above
            await trio.lowlevel.checkpoint()


async def test_long_command_lines_are_bounded_by_their_bytes() -> None:
    """C25: those that the supervisor has not taken; far fewer than requests may wait."""
    spec = JobSpec("sleep", ("x" * 100_000,))
    async with connected() as (backend, _), trio.open_nursery() as nursery:
        answers: list[object] = []

        async def start(number: int) -> None:
            answers.append(await backend.start(f"{number:032x}", spec, "alice"))

        # The kernel's buffer takes some of them.
        for number in range(2 * _MOST_WAITING_BYTES // 100_000):
            nursery.start_soon(start, number)
        await trio.testing.wait_all_tasks_blocked()
        assert answers
        assert all(isinstance(each, StartRefused) for each in answers)
        nursery.cancel_scope.cancel()


class Gate:
    """What is called through it stands still until it is opened; how many stand there."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self._changed = threading.Condition()
        self.waiting = 0

    def __call__(self) -> None:
        with self._changed:
            self.waiting += 1
        assert self._opened.wait(patient(30))

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


async def reach(gate: Gate, count: int) -> None:
    with trio.fail_after(patient(20)):
        while gate.waiting < count:  # noqa: ASYNC110 - threads: nothing tells this one
            await trio.sleep(0.005)


async def test_digests_that_stand_still_keep_no_thread_from_others(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most so many at once; removals, looking up names and whatever else has a thread go on."""
    true = Digest.sha256

    def stands_still(self: Digest) -> str:
        gate()
        return true(self)

    monkeypatch.setattr(end_recorder, "_HASH_HERE_BYTES", -1)
    monkeypatch.setattr(Digest, "sha256", stands_still)
    backend = FakeBackend()
    async with managed(tmp_path, backend) as manager:
        kept = [await manager.start("alice", SLEEP) for _ in range(DIGEST_THREADS + 3)]
        for job in kept:
            job.ask_stop(by="alice", grace_s=0.0)
        await reach(gate, DIGEST_THREADS)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert gate.waiting == DIGEST_THREADS
        default = trio.to_thread.current_default_thread_limiter()
        assert default.borrowed_tokens == 0
        gate.open()
        for job in kept:
            await job.wait_finished()


class SlowDisk(RealDisk):
    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def remove_tree(self, path: str) -> None:
        self._gate()
        super().remove_tree(path)


async def test_removals_that_stand_still_wait_in_bounded_memory(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread; and what has no room to wait is removed all the same when the disk goes on."""
    monkeypatch.setattr(file_removals, "_MOST_UNWANTED", 2)
    backend = FakeBackend()
    async with managed(tmp_path, backend, disk=SlowDisk(gate)) as manager:
        jobs: list[Job] = [await manager.start("alice", SLEEP) for _ in range(9)]
        for job in jobs:
            await job.stop(by="alice", grace_s=0.0)
        for job in jobs:
            manager.remove(job)
            await trio.testing.wait_all_tasks_blocked()
        await reach(gate, 1)
        assert gate.waiting == 1
        assert manager.history.removals._to_remove.statistics().current_buffer_used == 2
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        gate.open()
        with trio.fail_after(patient(20)):
            while any((tmp_path / "jobs").iterdir()):  # noqa: ASYNC110 - nothing tells of it
                await trio.sleep(0.005)
