"""Failed at every call of disk, records and audit: what docs/cancellation.md promises holds.

As test_every_step.py; each walk ends when there was no such call any more.
"""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from steps import Failing, at_every
from walked import SLEEP, STUBBORN, Told, announced, joined, managed, none_left, read, shorten

from penstock.jobs.backends.base import Verdict
from penstock.jobs.job_errors import JobError
from penstock.jobs.manager import Manager, open_manager
from penstock.jobs.manager import no_audit as no_audit
from penstock.jobs.output.disk import RealDisk
from penstock.jobs.store import Store


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


def _full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _locked() -> sqlite3.Error:
    return sqlite3.OperationalError("database or disk is full")


class FailingDisk(RealDisk):
    """Whose changing calls count."""

    def __init__(self, failing: Failing) -> None:
        for name in (
            *("make_directory", "open", "write", "splice", "discard", "unlink"),
            *("allocate", "trim"),
        ):
            setattr(self, name, failing.around(getattr(super(), name), _full))


STORE_CALLS = (
    *("insert_starting", "set_running", "set_stopping", "set_finished"),
    *("delete", "note_strays", "note_loss", "set_paused"),
)


def failing_store(failing: Failing, patch: pytest.MonkeyPatch) -> None:
    for name in STORE_CALLS:
        patch.setattr(Store, name, failing.around(getattr(Store, name), _locked))


@contextlib.contextmanager
def failures(kind: str, at: int) -> Iterator[tuple[Failing, dict[str, Any]]]:
    """The n-th call of a kind fails within; what to open the manager with, and the counter."""
    failing, told = Failing(at), Told()
    with pytest.MonkeyPatch.context() as patch:
        more: dict[str, Any] = {}
        if kind == "disk":
            more["disk"] = FailingDisk(failing)
        elif kind == "records":
            failing_store(failing, patch)
        audit: Callable[..., None] = failing.around(told, _full) if kind == "audit" else told
        yield failing, {"audit": audit, **more}


@pytest.mark.parametrize("kind", ["disk", "records", "audit"])
async def test_one_call_fails_in_a_life(tmp_path: Path, kind: str) -> None:
    """One job may be refused or lose output, and says so; the others and the server do not."""

    async def attempt(step: int) -> bool:
        backend = FakeBackend()
        directory = tmp_path / f"{kind}{step}"
        with failures(kind, step) as (failing, opened):
            failing.left = 10**9
            async with open_manager(backend, str(directory), **opened) as manager:
                other = await manager.start("bob", SLEEP)
                backend.jobs[other.id].write(b"before")
                with other.read_output() as reader:  # what fails is none of its calls
                    assert await anext(reader)
                failing.left = step
                await _one_life(manager, backend)
                failing.left = 10**9
                backend.jobs[other.id].write(b" after")
                assert (await other.stop(by="bob"))[0].reason == "stopped"
                assert joined(await read(other)) == b"before after"
        none_left(backend)
        async with managed(directory, backend) as manager:
            assert manager.get(other.handle).end == other.end
            for job in manager.list(owner="alice", include_finished=True):
                assert job.end is not None
        return failing.failed

    assert await at_every(attempt) >= 3


async def _one_life(manager: Manager, backend: FakeBackend) -> None:
    """Start, output, stop; every byte is told or announced, or the start was refused."""
    known = set(backend.jobs)
    try:
        job = await manager.start("alice", SLEEP)
    except JobError:
        await trio.testing.wait_all_tasks_blocked()
        assert manager.list(owner="alice", include_finished=True) == []
        for job_id in set(backend.jobs) - known:
            assert backend.jobs[job_id].released
        return
    if job.end is None:
        with contextlib.suppress(BrokenPipeError, IndexError):  # it was ended by the failure
            backend.jobs[job.id].write(b"some output")
    end, _ = await job.stop(by="alice", grace_s=0.01)
    pieces = await read(job)
    gaps = announced(pieces)
    assert len(joined(pieces)) + gaps == end.output_bytes
    assert b"some output".startswith(joined(pieces)) or gaps


@pytest.mark.parametrize("kind", ["disk", "records", "audit"])
async def test_one_call_fails_in_a_takeover(tmp_path: Path, kind: str) -> None:
    """The server comes up or says why not; the job is there still, or has an end that says why."""

    async def attempt(step: int) -> bool:
        backend = FakeBackend()
        directory = tmp_path / f"{kind}{step}"
        async with managed(directory, backend) as manager:
            job = await manager.start("alice", STUBBORN)
            backend.jobs[job.id].write(b"first ")
            with job.read_output() as reader:
                await anext(reader)
            manager.leave()
        backend.jobs[job.id].write(b"second")
        with failures(kind, step) as (failing, opened), contextlib.suppress(JobError):
            async with open_manager(backend, str(directory), **opened) as manager:
                manager.leave()
                await trio.testing.wait_all_tasks_blocked()
        async with managed(directory, backend) as manager:
            found = manager.get(job.handle, owner="alice")
            if found.end is None:
                backend.jobs[job.id].end(Verdict("exited", 0))
            end = await found.wait_finished()
            pieces = await read(found)
            gaps = announced(pieces)
            assert len(joined(pieces)) + gaps == end.output_bytes
            assert gaps or end.reason != "exited" or joined(pieces) == b"first second"
        none_left(backend)
        return failing.failed

    assert await at_every(attempt) >= 1


@pytest.mark.parametrize("kind", ["disk", "records", "audit"])
async def test_one_call_fails_in_a_shutdown(tmp_path: Path, kind: str) -> None:
    """C11: it ends all the same, in its time; each job has one end, now or at the next start."""

    async def attempt(step: int) -> bool:
        backend = FakeBackend()
        directory = tmp_path / f"{kind}{step}"
        with failures(kind, step) as (failing, opened):
            failing.left = 10**9
            async with open_manager(backend, str(directory), **opened) as manager:
                jobs = [await manager.start("alice", spec) for spec in (SLEEP, STUBBORN)]
                for job in jobs:  # in its pipe, until the end
                    backend.jobs[job.id].write(b"last words")
                failing.left = step
        none_left(backend)
        async with managed(directory, backend) as manager:
            for job in jobs:
                end = manager.get(job.handle, owner="alice").end
                assert end is not None
                assert job.end in (None, end)
                assert end.reason == "stopped"
                pieces = await read(manager.get(job.handle))
                gaps = announced(pieces)
                assert len(joined(pieces)) + gaps == end.output_bytes == len(b"last words")
                assert gaps or joined(pieces) == b"last words"
        return failing.failed

    assert await at_every(attempt) >= 2
