"""A Backend in memory, with real pipes: jobs do what a test tells them, when it tells them.

It is held to tests/system/test_backends.py, the same suite as the real one.
"""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from penstock.jobs.backend import Held, JobSpec, Refused, Started, Verdict
from penstock.supervisor.limits import Limits


@dataclass
class FakeJob:
    """One job; ``ignores_term`` makes KILL necessary."""

    id: str
    owner: str
    pid: int
    write_fds: list[int]
    ignores_term: bool = False
    exited: trio.Event = field(default_factory=trio.Event)
    emptied: trio.Event = field(default_factory=trio.Event)
    verdict: Verdict | None = None
    signals: list[int] = field(default_factory=list)
    released: bool = False
    started: Started | None = None
    read_fds: list[int] = field(default_factory=list)
    """Copies, as the supervisor keeps them, of those given away."""

    def write(self, data: bytes, stream: int = 1) -> None:
        """Output of the job."""
        os.write(self.write_fds[stream - 1], data)

    def end(self, verdict: Verdict) -> None:
        """Main process and all others are gone."""
        if self.verdict is None:
            self.verdict = verdict
            for fd in self.write_fds:
                os.close(fd)
            self.exited.set()
            self.emptied.set()


class FakeBackend:
    """Commands: ``sleep`` runs until it is told, ``stubborn`` ignores TERM, ``exit N`` ends at
    once, ``refused`` is not granted, ``print TEXT`` prints and ends.

    ``gate``, if set to an Event, holds every start until it is set.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, FakeJob] = {}
        self.gate: trio.Event | None = None
        self.next_pid = 1000

    async def start(self, job_id: str, spec: JobSpec, owner: str) -> Started | Refused:
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if spec.command == "refused":
            return Refused("denied", "command 'refused' is not granted")
        pipes = [os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in range(2)]
        self.next_pid += 1
        job = FakeJob(job_id, owner, self.next_pid, [write_fd for _, write_fd in pipes])
        job.ignores_term = spec.command == "stubborn"
        self.jobs[job_id] = job
        if spec.command == "exit":
            job.end(Verdict("exited", int(spec.arguments[0])))
        elif spec.command == "print":
            job.write(spec.arguments[0].encode())
            job.end(Verdict("exited", 0))
        job.read_fds = [os.dup(read_fd) for read_fd, _ in pipes]
        job.started = Started(
            pid=job.pid,
            start_ticks=1,
            started_ns=1,
            argv=(f"/bin/{spec.command}", *spec.arguments),
            class_name="free",
            limits=Limits(),
            enforcement=(),
            usage_files={},
            grace_s=5.0,
            stdout_fd=pipes[0][0],
            stderr_fd=pipes[1][0],
        )
        return job.started

    async def take_held(self) -> list[Held]:
        await trio.lowlevel.checkpoint()
        held = [job for job in self.jobs.values() if job.started is not None and not job.released]
        for job in held:
            assert job.started is not None
            # Descriptors of its own for whoever takes it; the fake keeps those it made.
            fds = [os.dup(fd) for fd in job.read_fds]
            job.started = replace(job.started, stdout_fd=fds[0], stderr_fd=fds[1])
        return [Held(job.id, job.owner, job.started) for job in held if job.started]

    async def wait_main_exited(self, job_id: str) -> None:
        await self.jobs[job_id].exited.wait()

    async def wait(self, job_id: str) -> Verdict:
        job = self.jobs[job_id]
        await job.emptied.wait()
        assert job.verdict is not None
        return job.verdict

    async def signal(self, job_id: str, number: int) -> int:
        await trio.lowlevel.checkpoint()
        job = self.jobs[job_id]
        if job.verdict is not None:
            return 0
        job.signals.append(number)
        if number == signal.SIGTERM and not job.ignores_term:
            job.end(Verdict("signaled", int(signal.SIGTERM)))
        return 1

    async def kill(self, job_id: str) -> int:
        await trio.lowlevel.checkpoint()
        job = self.jobs[job_id]
        if job.verdict is not None:
            return 0
        job.signals.append(signal.SIGKILL)
        job.end(Verdict("signaled", int(signal.SIGKILL), processes_killed=1))
        return 1

    def release(self, job_id: str) -> None:
        job = self.jobs[job_id]
        if not job.released:
            job.released = True
            job.end(Verdict("signaled", int(signal.SIGKILL)))
            for fd in job.read_fds:
                os.close(fd)

    def hold_again(self, job_id: str) -> None:
        """As if it had not been released."""
        job = self.jobs[job_id]
        job.released = False
        job.read_fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]

    def capabilities(self) -> Mapping[str, Any]:
        return {"mode": "user", "kind": "tree", "boot_id": "boot", "policy": "hash", "limits": []}
