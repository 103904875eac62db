"""A manager over the fake backend for walks through every step; see steps.py."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_backend import FakeBackend

from penstock.jobs.backends.base import JobSpec
from penstock.jobs.job import Job
from penstock.jobs.manager import Manager, no_audit, open_manager
from penstock.jobs.output.cursor import Chunk
from penstock.jobs.output.gaps import Gap

SLEEP, STUBBORN = JobSpec("sleep"), JobSpec("stubborn")


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in real time."""
    monkeypatch.setattr("penstock.jobs.manager.SHUTDOWN_GRACE_S", 0.02)
    monkeypatch.setattr("penstock.jobs.end_recorder.RECORD_AGAIN_S", 0.01)


class Told:
    """An audit log, and what it may be asked afterwards."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def __call__(self, event: str, fields: Any) -> None:
        self.lines.append((event, fields.get("job", "")))

    def ends(self, job_id: str) -> int:
        return self.lines.count(("job.finished", job_id))


@asynccontextmanager
async def managed(
    directory: Path, backend: FakeBackend, told: Told | None = None, **more: Any
) -> AsyncIterator[Manager]:
    async with open_manager(backend, str(directory), audit=told or no_audit, **more) as manager:
        yield manager


async def read(job: Job, offset: int = 0) -> list[Chunk | Gap]:
    with job.read_output(offset) as reader:
        return [piece async for piece in reader]


def joined(pieces: list[Chunk | Gap]) -> bytes:
    return b"".join(piece.data for piece in pieces if isinstance(piece, Chunk))


def announced(pieces: list[Chunk | Gap]) -> int:
    """Bytes that are in gaps."""
    return sum(piece.end - piece.start for piece in pieces if isinstance(piece, Gap))


def none_left(backend: FakeBackend) -> None:
    """No process, and the backend was told that each is done with."""
    for job in backend.jobs.values():
        assert job.verdict is not None
        assert job.released
