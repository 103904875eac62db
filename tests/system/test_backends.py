"""One suite for all that stands behind the seam: the supervisor and its fakes, where jobs depend
on it."""

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from fake_backend import FakeBackend
from machines.kernel import Kernel, SimBackend
from machines.process import Faults, Process, SimDisk
from machines.programs import Act, Behaviour
from standing import wait_state
from supervisor_process import IS_ROOT, Supervisor, running_supervisor, shell

from penstock.jobs.backends.base import (
    Backend,
    JobSpec,
    StartedJob,
)
from penstock.jobs.backends.local import connect_local
from penstock.jobs.output.disk import Disk, RealDisk

KINDS = ("supervisor", "fake", "simulated")
GREETS, SLEEPS, DEAF, HALTS = "greets", "sleeps", "deaf", "halts"


@dataclass
class Place:
    """A backend, the disk that its pipes are of, and how to have a job of each sort."""

    backend: Backend
    disk: Disk
    specs: dict[str, JobSpec]
    read: Callable[[int], bytes]

    async def started(self, sort: str) -> StartedJob:
        started = await self.backend.start("a" * 32, self.specs[sort], "alice")
        assert isinstance(started, StartedJob)
        return started

    async def output(self, fd: int) -> bytes:
        """To its end."""
        found = b""
        while True:
            await self.disk.wait_readable(fd)
            data = self.read(fd)
            if not data:
                return found
            found += data

    def close(self, started: StartedJob) -> None:
        self.backend.release("a" * 32)
        for fd in (started.pipes.stdout_fd, started.pipes.stderr_fd):
            if fd is not None:
                self.disk.close_pipe(fd)


@asynccontextmanager
async def supervised() -> AsyncIterator[Place]:
    commands = "".join(
        shell(name, script, root=IS_ROOT)
        for name, script in (
            (GREETS, "printf hello; exit 3"),
            (SLEEPS, "exec sleep 1000"),
            (DEAF, 'trap "" TERM; printf ready; while :; do sleep 1; done'),
            (HALTS, "printf ready; kill -STOP $$; exit 7"),
        )
    )
    names = (GREETS, SLEEPS, DEAF, HALTS)
    clients = f"[clients.alice]\ncommands = {list(names)}\n"
    specs = {name: JobSpec(name) for name in names}
    with running_supervisor(commands, clients=clients) as supervisor:
        async with contextlib.AsyncExitStack() as stack:
            with as_server(supervisor):
                connection = connect_local(str(supervisor.socket_path))
                backend = await stack.enter_async_context(connection)
            yield Place(backend, RealDisk(), specs, lambda fd: os.read(fd, 65_536))


@contextlib.contextmanager
def as_server(supervisor: Supervisor) -> Iterator[None]:
    """Who connects is who asks; root comes back afterwards."""
    before = os.geteuid(), os.getegid()
    os.setegid(supervisor.uid)
    os.seteuid(supervisor.uid)
    try:
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])


@asynccontextmanager
async def faked() -> AsyncIterator[Place]:
    specs = {
        GREETS: JobSpec("print", ("hello",)),
        SLEEPS: JobSpec("sleep"),
        DEAF: JobSpec("stubborn"),
    }
    yield Place(FakeBackend(), RealDisk(), specs, lambda fd: os.read(fd, 65_536))


@asynccontextmanager
async def simulated() -> AsyncIterator[Place]:
    behaviours = (
        Behaviour((Act("write", 5),), code=3),
        Behaviour((Act("sleep", seconds=1000.0),)),
        Behaviour((Act("deaf"), Act("write", 5), Act("sleep", seconds=1000.0))),
        Behaviour((Act("write", 5), Act("halt")), code=7),
    )
    sorts = zip((GREETS, SLEEPS, DEAF, HALTS), range(4), strict=True)
    specs = {sort: JobSpec("keep", (str(number),)) for sort, number in sorts}
    disk = SimDisk()
    kernel = Kernel(disk, behaviours, 0.0, lambda who, what: None)
    async with trio.open_nursery() as nursery:
        kernel.nursery = nursery
        nursery.start_soon(kernel.run)
        no_reloads: Any = None
        backend = SimBackend(kernel, Process(0, Faults()), no_reloads)
        yield Place(backend, disk, specs, lambda fd: disk.pipes[fd].take(65_536))
        nursery.cancel_scope.cancel()


PLACES = dict(zip(KINDS, (supervised, faked, simulated), strict=True))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_that_ends_by_itself(kind: str) -> None:
    """Its output and the end of it, its status, told again; and nobody is there to be signaled."""
    async with PLACES[kind]() as place:
        backend = place.backend
        started = await place.started(GREETS)
        assert started.started.pid > 0
        assert len(await place.output(started.pipes.stdout_fd)) == 5
        assert started.pipes.stderr_fd is not None
        assert await place.output(started.pipes.stderr_fd) == b""
        await backend.wait_main_exited("a" * 32)
        verdict = await backend.wait("a" * 32)
        assert (verdict.kind, verdict.code) == ("exited", 0 if kind == "fake" else 3)
        assert await backend.wait("a" * 32) == verdict
        assert await backend.signal("a" * 32, signal.SIGTERM) == 0
        assert await backend.kill("a" * 32) == 0
        assert await backend.inspect("a" * 32) == []
        place.close(started)


@pytest.mark.parametrize("kind", KINDS)
async def test_term_ends_whom_it_reaches(kind: str) -> None:
    """Its main process is told to have ended before, or when, all are gone."""
    async with PLACES[kind]() as place:
        started = await place.started(SLEEPS)
        assert await place.backend.signal("a" * 32, signal.SIGTERM) == 1
        await place.backend.wait_main_exited("a" * 32)
        verdict = await place.backend.wait("a" * 32)
        assert (verdict.kind, verdict.code) == ("signaled", signal.SIGTERM)
        place.close(started)


@pytest.mark.parametrize("kind", KINDS)
async def test_kill_ends_who_is_deaf(kind: str) -> None:
    """TERM is delivered and does nothing; KILL counts whom it has ended."""
    async with PLACES[kind]() as place:
        backend = place.backend
        started = await place.started(DEAF)
        if kind != "fake":
            await place.disk.wait_readable(started.pipes.stdout_fd)  # it is deaf by now
        assert await backend.signal("a" * 32, signal.SIGTERM) == 1
        with trio.move_on_after(0.05) as waiting:
            await backend.wait("a" * 32)
        assert waiting.cancelled_caught
        assert await backend.kill("a" * 32) >= 1
        verdict = await backend.wait("a" * 32)
        assert (verdict.kind, verdict.code) == ("signaled", signal.SIGKILL)
        assert verdict.processes_killed >= 1
        place.close(started)


@pytest.mark.parametrize("kind", ["supervisor", "simulated"])
async def test_who_stands_still_hears_the_signal_of_its_end(kind: str) -> None:
    """A signal waits for as long as it does, unless it is a stop's, which has a grace."""
    async with PLACES[kind]() as place:
        backend = place.backend
        started = await place.started(HALTS)
        await place.disk.wait_readable(started.pipes.stdout_fd)
        if kind == "supervisor":
            await wait_state(started.started.pid, "T")
        assert await backend.signal("a" * 32, signal.SIGUSR1) == 1
        with trio.move_on_after(0.05) as waiting:
            await backend.wait_main_exited("a" * 32)
        assert waiting.cancelled_caught
        assert await backend.signal("a" * 32, signal.SIGTERM, kill_after_s=60.0) == 1
        verdict = await backend.wait("a" * 32)
        # Of two that wait the kernel delivers the lower number first.
        assert (verdict.kind, verdict.code) == ("signaled", signal.SIGUSR1)
        place.close(started)
