"""A disk that gives no byte of what is to be hashed: who waits is told, and the job ends."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from patience import patient
from walked import SLEEP, managed, shorten

from penstock.jobs import end_recorder
from penstock.jobs.job_errors import NotRecorded
from penstock.jobs.output import digest_threads as hashing_module
from penstock.jobs.output.digest import Digest
from penstock.jobs.output.digest_threads import DIGEST_THREADS, GIVE_UP_S, STALL_S, Hashing


class StuckDigest(Digest):
    """Hashed in no thread, which would know nothing of virtual time: it stands still until it is
    let go, and ``hashed_bytes`` is what the test says."""

    def __init__(self) -> None:
        self.begun = False
        self.hashed_bytes = 0
        self.go_on = trio.Event()

    async def stand_still(self) -> str:
        self.begun = True
        await self.go_on.wait()
        return "done"


async def _run_sync(sha256: Any, *, abandon_on_cancel: bool, limiter: trio.CapacityLimiter) -> str:
    """In place of trio.to_thread's."""
    assert abandon_on_cancel
    digest = sha256.__self__
    assert isinstance(digest, StuckDigest)
    async with limiter:
        return await digest.stand_still()


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> list[StuckDigest]:
    monkeypatch.setattr(trio.to_thread, "run_sync", _run_sync)
    return [StuckDigest() for _ in range(DIGEST_THREADS + 1)]


@pytest.fixture
def disk() -> Iterator[threading.Event]:
    """It stands still until it is set."""
    goes_on = threading.Event()
    yield goes_on
    goes_on.set()


async def hashed(hashing: Hashing, digest: Digest, seen: list[Any]) -> None:
    """What came of it, and when, in virtual time."""
    try:
        seen.append(await hashing.sha256(digest, lambda: seen.append(trio.current_time())))
    except OSError as error:
        seen.append((trio.current_time(), error.strerror))


@pytest.mark.mock_clock
async def test_one_that_stands_still_is_said_and_then_given_up(
    digests: list[StuckDigest],
) -> None:
    """C29: after STALL_S and GIVE_UP_S without a byte."""
    seen: list[Any] = []
    began = trio.current_time()
    await hashed(Hashing(), digests[0], seen)
    stalled, (given_up, why) = seen
    assert STALL_S <= stalled - began <= STALL_S + 2
    assert GIVE_UP_S <= given_up - began <= GIVE_UP_S + 2
    assert why == "its disk gives no byte of it"


@pytest.mark.mock_clock
async def test_one_that_moves_is_waited_for_however_long_it_takes(
    digests: list[StuckDigest],
) -> None:
    """C8, C29: a byte each nine seconds is slow, and no fault; nor is waiting for a thread while
    those that have one move."""
    hashing = Hashing()
    seen: list[Any] = []
    last: list[Any] = []
    async with trio.open_nursery() as nursery:
        for digest in digests[:-1]:
            nursery.start_soon(hashed, hashing, digest, seen)
        await trio.sleep(0.1)
        nursery.start_soon(hashed, hashing, digests[-1], last)
        for _ in range(40):
            await trio.sleep(STALL_S - 1.5)
            for digest in digests[:-1]:
                digest.hashed_bytes += 1
        assert (seen, last) == ([], [])
        assert not digests[-1].begun
        # From now on nothing moves, so who has no thread waits for nothing, too.
        await trio.sleep(STALL_S + 2)
        assert len(seen) == DIGEST_THREADS
        assert len(last) == 1
        for digest in digests:
            digest.go_on.set()
    assert seen.count("done") == DIGEST_THREADS
    assert last[1:] == ["done"]


async def test_stop_and_wait_say_so_and_the_job_ends_without_a_digest(
    tmp_path: Path, disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C29: NOT_RECORDED while it stands still; its end then says why there is no digest."""
    shorten(monkeypatch)
    monkeypatch.setattr(end_recorder, "_HASH_HERE_BYTES", -1)
    monkeypatch.setattr(Digest, "sha256", lambda _: disk.wait(patient(30)))
    for name, seconds in (("STALL_S", 0.05), ("GIVE_UP_S", 0.5), ("_LOOK_S", 0.01)):
        monkeypatch.setattr(hashing_module, name, seconds)
    async with managed(tmp_path, FakeBackend()) as manager:
        job = await manager.start("alice", SLEEP)
        with trio.fail_after(patient(20)):
            with pytest.raises(NotRecorded):
                await job.stop(by="alice", grace_s=0.01)
            with pytest.raises(NotRecorded):
                await job.wait_finished()
            await job.finished.wait()
        assert job.end is not None
        assert job.end.reason == "stopped"
        assert job.end.output_sha256 == ""
        assert "could not be hashed: its disk gives no byte of it" in job.end.detail
