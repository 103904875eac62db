"""What the server may ask for: one table. What it holds is the only state of the supervisor."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from .cgroups import LimitChange
from .files.program_files import Replaced
from .ipc import protocol
from .ipc.from_server import CloseInput, Inspect, Kill, Look, Pause, Release, Signal, Start, Take
from .ipc.from_supervisor import (
    Inspected,
    Killed,
    Looked,
    Nothing,
    Paused,
    ReplacedFile,
    ReplacedMessage,
    Signaled,
)
from .ipc.message_base import Message
from .ipc.protocol import ProtocolError
from .ipc.server_socket import Send
from .job.inspect_survivors import inspect
from .job.limit_rounds import LimitRounds
from .job.start_check import Refusal, StartCheck
from .job.supervised_job import SupervisedJob
from .job_launch import Host, JobLauncher
from .kernel.loop import Loop
from .storage.storage_watch import StorageWatch


class Dispatcher:
    """Answers the table's requests; ``jobs`` are all that are held."""

    def __init__(self, loop: Loop, host: Host, on_empty: Callable[[], None]) -> None:
        self.jobs: dict[str, SupervisedJob] = {}
        self._host = host
        self._on_empty = on_empty
        self._ending = False
        self._storage = StorageWatch(loop, self._over)
        self._limits = LimitRounds(loop, self._limits_changed)
        self._launcher = JobLauncher(
            *(loop, self.jobs, self._storage, self._limits), self._forgotten
        )

    def answer(self, message: Message, send: Send) -> None:
        """Does what a message asks: the table. Raises ProtocolError if it is not for now."""
        match message:
            case Take():
                self._take(send)
            case Start():
                self._start(message, send)
            case Signal():
                self._signal(message, send)
            case Pause():
                self._pause(message, send)
            case Inspect():
                self._inspect(message, send)
            case Look():
                self._look(message, send)
            case CloseInput():
                self._close_input(message)
            case Kill():
                self._kill(message, send)
            case Release():
                self._release(message)
            case _:
                raise ProtocolError(f"{message.kind} is not for now")

    def take_up(self, grants: StartCheck, max_jobs: int) -> None:
        """From now on starts are checked by these. Jobs that run keep what they were started
        with."""
        self._host = replace(self._host, grants=grants, max_jobs=max_jobs)

    def refuse_starts(self) -> None:
        """From now on: penstockd is stopping."""
        self._ending = True

    def disconnect(self) -> None:
        """The server is gone. Its jobs run on, and keep their news for the next one."""
        for job in self.jobs.values():
            job.disconnect()

    def release_all(self) -> None:
        """Kills every job and forgets each when it is gone; calls on_empty at the end."""
        for job in list(self.jobs.values()):
            job.release()
        if not self.jobs:
            self._on_empty()

    def _take(self, send: Send) -> None:
        """One job an answer, so that few descriptors are under way at a time."""
        left = [job for job in self.jobs.values() if job.takeable]
        for job in sorted(left, key=lambda job: job.starting):
            job.hand_over(send)  # one that starts still answers when it has, or has failed
            return
        send(Nothing())

    def _start(self, start: Start, send: Send) -> None:
        if start.id in self.jobs:
            raise ProtocolError(f"job {start.id} is there already")
        try:
            if self._ending:
                raise Refusal(protocol.FAILED, "penstockd is stopping", protocol.STOPPING)
            grant = self._host.grants.check(start)
            if len(self.jobs) >= self._host.max_jobs:
                raise Refusal(
                    protocol.EXHAUSTED, f"this host holds {self._host.max_jobs} jobs already"
                )
            self._launcher.launch(self._host, start, grant, send)
        except Refusal as refusal:
            send(refusal.message(start.id))
        except Replaced as replaced:
            files = tuple(ReplacedFile(**each.fields()) for each in replaced.files)
            send(ReplacedMessage(start.id, files))

    def _over(self, name: str) -> None:
        job = self.jobs.get(name)
        if job is not None:
            job.storage_full()

    def _forgotten(self, name: str) -> None:
        self._storage.remove(name)
        self._limits.remove(name)
        del self.jobs[name]
        if not self.jobs:
            self._on_empty()

    def _signal(self, asked: Signal, send: Send) -> None:
        job = self.jobs.get(asked.id)
        if job is None:
            count = 0
        elif asked.kill_after_s is None:
            count = job.signal(asked.signal, asked.tree)
        else:
            job.kill_after(asked.kill_after_s)
            count = job.ask_end(asked.signal, tree=asked.tree)
        send(Signaled(asked.id, count))

    def _pause(self, asked: Pause, send: Send) -> None:
        job = self.jobs.get(asked.id)
        if job is not None:
            job.pause(asked.paused)
        else:
            send(Paused(asked.id, False, "it has ended"))

    def _inspect(self, asked: Inspect, send: Send) -> None:
        job = self.jobs.get(asked.id)
        send(Inspected(asked.id, tuple(inspect(job.pids())) if job else ()))

    def _look(self, asked: Look, send: Send) -> None:
        self._limits.check(asked.id, lambda: send(Looked(asked.id)))

    def _limits_changed(self, name: str, changes: Sequence[LimitChange]) -> None:
        job = self.jobs.get(name)
        if job is not None:
            job.limits_changed(changes)

    def _close_input(self, asked: CloseInput) -> None:
        job = self.jobs.get(asked.id)
        if job is not None:
            job.close_input()

    def _kill(self, asked: Kill, send: Send) -> None:
        job = self.jobs.get(asked.id)
        send(Killed(asked.id, job.kill() if job else 0))

    def _release(self, asked: Release) -> None:
        job = self.jobs.get(asked.id)
        if job is not None:
            job.release()
