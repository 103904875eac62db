"""A Backend in memory, with real pipes: jobs do what a test tells them, when it tells them.

It is held to tests/system/test_backends.py, the same suite as the real one.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from penstock.jobs.backends.base import (
    HeldJob,
    InputPipes,
    JobPipes,
    JobSpec,
    OnReplaced,
    StartedJob,
    StartRefused,
    Verdict,
)
from penstock.policy.control_policy import Control
from penstock.policy.limit_classes import ResourceLimits
from penstock.supervisor.ipc.from_supervisor import Changed, Left, ReplacedFile
from penstock.supervisor.ipc.started import HeldLimits, Started


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
    stdin_fd: int = -1
    """The job's end of its input."""
    input_fds: list[int] = field(default_factory=list)
    """Copies of the other ends."""
    trees: list[bool] = field(default_factory=list)
    """Of each signal, whether it went to all."""
    paused: bool = False
    left: list[Left] = field(default_factory=list)
    survives: bool = False
    """KILL does nothing."""

    def close_input(self) -> None:
        while self.input_fds:
            os.close(self.input_fds.pop())

    async def read_input(self) -> bytes:
        """All of it, to its end."""
        data = b""
        while True:
            await trio.lowlevel.wait_readable(self.stdin_fd)
            part = os.read(self.stdin_fd, 1 << 20)
            if not part:
                return data
            data += part

    def write(self, data: bytes, stream: int = 1) -> None:
        """Output of the job."""
        os.write(self.write_fds[stream - 1], data)

    def end(self, verdict: Verdict) -> None:
        """Main process and all others are gone."""
        if self.verdict is None:
            self.verdict = verdict
            if self.stdin_fd >= 0:
                os.close(self.stdin_fd)
                self.stdin_fd = -1
            for fd in self.write_fds:
                os.close(fd)
            self.exited.set()
            self.emptied.set()


class FakeBackend:
    """Commands: ``sleep`` runs until it is told, ``stubborn`` ignores TERM, ``exit N`` ends at
    once, ``refused`` is not granted, ``print TEXT`` prints and ends, and the file of ``replaced``,
    which ends at once, is another one now.

    ``gate``, if set to an Event, holds every start until it is set.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, FakeJob] = {}
        self.gate: trio.Event | None = None
        self.next_pid = 1000
        self.generation = self.supervisors_generation = "hash"
        self.switched = trio.lowlevel.ParkingLot()
        self.asked_by: list[str | None] = []
        """The generation of each START."""
        self.signaled = trio.Semaphore(0)
        """Released by each signal, KILL too."""
        self.control = Control()
        """Of every job that is started from now on."""
        self.silent = False
        """Nobody seems to be there."""
        self.on_limits_changed: Callable[[Changed], None] = lambda changed: None
        self.on_paused: Callable[[str], None] = lambda job_id: None
        self.cannot_pause = ""
        """Why, if jobs cannot."""

    async def wait_generation_after(self, generation: str) -> None:
        await trio.lowlevel.checkpoint()
        while self.generation == generation:
            await self.switched.park()

    def switch(self, generation: str) -> None:
        """As the supervisor does it first, and then says so."""
        self.generation = self.supervisors_generation = generation
        self.switched.unpark_all()

    async def start(
        self,
        job_id: str,
        spec: JobSpec,
        owner: str,
        *,
        generation: str | None = None,
        on_replaced: OnReplaced | None = None,
    ) -> StartedJob | StartRefused:
        await trio.lowlevel.checkpoint()
        self.asked_by.append(generation)
        if self.gate is not None:
            await self.gate.wait()
        if generation not in (None, self.supervisors_generation):
            return StartRefused("stale_policy", "the policy has just been replaced; try again")
        if spec.command == "refused":
            return StartRefused("denied", "command 'refused' is not granted")
        if spec.command == "replaced":
            assert on_replaced is not None
            try:
                on_replaced([ReplacedFile("/bin/replaced", "inode 1", "inode 2")])
            except Exception:
                return StartRefused("lost", "this cannot be written down now")
        pipes = [os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in range(2)]
        self.next_pid += 1
        job = FakeJob(job_id, owner, self.next_pid, [write_fd for _, write_fd in pipes])
        job.ignores_term = spec.command == "stubborn"
        self.jobs[job_id] = job
        if spec.stdin:
            job.stdin_fd, job_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            job.input_fds = [job_write, *os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)]
        if spec.command == "exit":
            job.end(Verdict("exited", int(spec.arguments[0])))
        elif spec.command == "replaced":
            job.end(Verdict("exited", 0))
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
            limits=ResourceLimits(),
            held=HeldLimits(()),
            grace_s=5.0,
            control=self.control,
        )
        given = JobPipes(pipes[0][0], pipes[1][0], _copies(job.input_fds))
        return StartedJob(job.started, given)

    async def take_held(self) -> list[HeldJob]:
        await trio.lowlevel.checkpoint()
        held = []
        for job in self.jobs.values():
            if job.started is not None and not job.released:
                # Descriptors of its own for whoever takes it; the fake keeps those it made.
                stdout_fd, stderr_fd = (os.dup(fd) for fd in job.read_fds)
                pipes = JobPipes(stdout_fd, stderr_fd, _copies(job.input_fds))
                held.append(HeldJob(job.id, job.owner, job.started, pipes))
        return held

    async def wait_main_exited(self, job_id: str) -> None:
        await self.jobs[job_id].exited.wait()

    async def wait(self, job_id: str) -> Verdict:
        job = self.jobs[job_id]
        await job.emptied.wait()
        assert job.verdict is not None
        return job.verdict

    async def signal(
        self, job_id: str, number: int, *, tree: bool = False, kill_after_s: float | None = None
    ) -> int:
        # As with the real one, the signal is on its way before anybody can cancel.
        job = self.jobs[job_id]
        alive = job.verdict is None
        if alive:
            job.signals.append(number)
            self.signaled.release()
            job.trees.append(tree)
            if number == signal.SIGTERM and not job.ignores_term:
                job.end(Verdict("signaled", int(signal.SIGTERM)))
        await trio.lowlevel.checkpoint()
        return (3 if tree else 1) if alive else 0

    async def set_paused(self, job_id: str, paused: bool) -> str:
        if not self.cannot_pause:
            self.jobs[job_id].paused = paused
            self.on_paused(job_id)
        await trio.lowlevel.checkpoint()
        return self.cannot_pause

    def is_paused(self, job_id: str) -> bool:
        return self.jobs[job_id].paused

    def holds_limits(self) -> bool:
        return False

    async def look_at_limits(self, job_id: str) -> None:
        await trio.lowlevel.checkpoint()

    async def inspect(self, job_id: str) -> list[Left]:
        await trio.lowlevel.checkpoint()
        return self.jobs[job_id].left

    async def answered(self, wait: Callable[[], Awaitable[object]]) -> bool:
        if not self.silent:
            await wait()
            return True
        await trio.lowlevel.checkpoint()
        return False

    def is_silent(self) -> bool:
        return self.silent

    def close_input(self, job_id: str) -> None:
        self.jobs[job_id].close_input()

    async def kill(self, job_id: str) -> int:
        job = self.jobs[job_id]
        alive = job.verdict is None
        if alive:
            job.signals.append(signal.SIGKILL)
            self.signaled.release()
            if not job.survives:
                job.end(Verdict("signaled", int(signal.SIGKILL), processes_killed=1))
        await trio.lowlevel.checkpoint()
        return int(alive)

    def release(self, job_id: str) -> None:
        job = self.jobs[job_id]
        if not job.released:
            job.released = True
            job.end(Verdict("signaled", int(signal.SIGKILL)))
            for fd in job.read_fds:
                os.close(fd)
            job.close_input()

    def hold_again(self, job_id: str) -> None:
        """As if it had not been released."""
        job = self.jobs[job_id]
        job.released = False
        job.read_fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]

    def capabilities(self) -> Mapping[str, Any]:
        return {
            "mode": "user",
            "kind": "tree",
            "boot_id": "boot",
            "policy": self.generation,
            "limits": [],
        }


def _copies(fds: list[int]) -> InputPipes | None:
    return InputPipes(*[os.dup(fd) for fd in fds]) if fds else None
