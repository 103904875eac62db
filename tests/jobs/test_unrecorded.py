"""C23: a job has ended, and the records' disk takes no word of it."""

import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from fake_backend import FakeBackend
from google.rpc.error_details_pb2 import ErrorInfo
from walked import SLEEP, managed, none_left, shorten

from penstock.jobs import end_recorder
from penstock.jobs.job import RECORD_PATIENCE_S, Job
from penstock.jobs.job_errors import NotRecorded
from penstock.jobs.states import JobState
from penstock.jobs.store import Store
from penstock.server.error_status import from_job_error

Outcomes = dict[str, object]


class FullDisk:
    """Refuses end records until it has room; counts how often it was asked."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.full = True
        self.asked = 0
        self.has_room_after = sys.maxsize
        self.record = Store.set_finished
        disk = self

        def set_finished(self: Store, *about: Any) -> None:
            disk.asked += 1
            if disk.full and disk.asked <= disk.has_room_after:
                raise sqlite3.OperationalError("database or disk is full")
            disk.record(self, *about)

        patch.setattr(Store, "set_finished", set_finished)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    shorten(monkeypatch)
    assert RECORD_PATIENCE_S == 10.0
    monkeypatch.setattr(end_recorder, "RECORD_PATIENCE_S", 0.05)
    return FullDisk(monkeypatch)


async def asked(job: Job, outcomes: Outcomes) -> None:
    """Both calls, to their end."""

    async def one(name: str, call: Any) -> None:
        try:
            outcomes[name] = await call()
        except NotRecorded as error:
            outcomes[name] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, "wait", job.wait_finished)
        nursery.start_soon(one, "stop", lambda: job.stop(by="alice", grace_s=0.01))


async def test_stop_and_wait_say_so(tmp_path: Path, disk: FullDisk) -> None:
    """C23: after a while; the job stays `ending`, whoever asks again is told at once, and gets the
    record when there is room."""
    backend, outcomes = FakeBackend(), Outcomes()
    async with managed(tmp_path, backend) as manager:
        job = await manager.start("alice", SLEEP)
        with trio.fail_after(30):
            await asked(job, outcomes)
        for error in outcomes.values():
            assert isinstance(error, NotRecorded)
            assert f"job {job.handle} has ended" in str(error)
            status = from_job_error(error)
            info = status.details[0]
            assert isinstance(info, ErrorInfo)
            assert (status.code.name, info.reason) == ("UNAVAILABLE", "NOT_RECORDED")
        assert job.state is JobState.ENDING
        assert job.end is None
        assert disk.asked > 1
        await asked(job, outcomes)
        assert all(isinstance(error, NotRecorded) for error in outcomes.values())
        disk.full = False
        await job.finished.wait()
        await asked(job, outcomes)
        assert outcomes["wait"] == job.end
        assert outcomes["stop"] == (job.end, True)
        assert job.end is not None
        assert job.end.reason == "stopped"
    none_left(backend)


async def test_who_waits_for_a_while_only_is_not_told(tmp_path: Path, disk: FullDisk) -> None:
    """A disk that has room again in time: the record, and nothing of it having been late."""
    backend, outcomes = FakeBackend(), Outcomes()
    async with managed(tmp_path, backend) as manager:
        job = await manager.start("alice", SLEEP)
        disk.has_room_after = 1
        await asked(job, outcomes)
        assert disk.asked == 2
        assert outcomes == {"wait": job.end, "stop": (job.end, False)}


async def test_a_shutdown_does_not_wait_for_room(tmp_path: Path, disk: FullDisk) -> None:
    """C23: the next start records what became of it."""
    backend = FakeBackend()
    with trio.fail_after(30):
        async with managed(tmp_path, backend) as manager:
            job = await manager.start("alice", SLEEP)
            handle = job.handle
    assert job.end is None
    backend.release(job.id)  # as a supervisor that ends
    disk.full = False
    async with managed(tmp_path, FakeBackend()) as manager:
        end = manager.get(handle).end
        assert end is not None
        assert end.reason == "lost"
