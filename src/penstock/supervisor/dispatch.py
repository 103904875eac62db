"""What the server may ask for: one table. What it holds is the only state of the supervisor."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..policy.limit_classes import LimitClass, ResourceLimits
from ..policy.policy_file import ClientPolicy
from . import isolation
from .cgroups import ClientTotals, GroupError, Hierarchy, LimitChange, block_device, group_name
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
from .job import job_environment, rlimits, standard_pipes
from .job.cgroup_processes import CgroupProcesses, Processes
from .job.inspect_survivors import inspect
from .job.limit_rounds import LimitRounds
from .job.spawn import Plan
from .job.start_check import CheckedStart, Refusal, StartCheck
from .job.start_requirements import check_isolation, check_limits
from .job.subreaper_processes import SubreaperProcesses
from .job.supervised_job import SupervisedJob
from .kernel.loop import Loop
from .logs.supervisor_log import log
from .storage import workdirs
from .storage.disk_usage import Watched
from .storage.project_quota import Project, ProjectQuotas
from .storage.storage_watch import StorageWatch


@dataclass(frozen=True, slots=True)
class Host:
    """What starts are made with. Without ``hierarchy`` each job gets a subreaper."""

    grants: StartCheck
    hierarchy: Hierarchy | None
    offers: isolation.Offers
    work_root: str
    max_jobs: int
    quotas: ProjectQuotas


class Dispatcher:
    """Answers the table's requests; ``jobs`` are all that are held."""

    def __init__(self, loop: Loop, host: Host, on_empty: Callable[[], None]) -> None:
        self.jobs: dict[str, SupervisedJob] = {}
        self._loop = loop
        self._host = host
        self._on_empty = on_empty
        self._ending = False
        self._storage = StorageWatch(loop, self._over)
        self._limits = LimitRounds(loop, self._limits_changed)

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
            self._launch(start, grant, send)
        except Refusal as refusal:
            send(refusal.message(start.id))
        except Replaced as replaced:
            files = tuple(ReplacedFile(**each.fields()) for each in replaced.files)
            send(ReplacedMessage(start.id, files))

    def _launch(self, start: Start, grant: CheckedStart, send: Send) -> None:
        """Raises Refusal before anything is there; after that the job itself reports what fails."""
        command, limit_class = grant.effective.command, grant.effective.limit_class
        own = self._make_workdir(start, grant)
        workdir = command.workdir or own
        try:
            processes = self._confine(start.id, limit_class, grant.client, workdir)
        except (GroupError, OSError) as error:
            workdirs.discard(own)
            raise _failure(grant, "group", error) from error
        offers = self._host.offers
        env = job_environment.environment(grant, start.id, workdir)
        places = job_environment.places(grant, workdir, workdirs.temporary(own), env["HOME"])
        isolated = isolation.make_isolation(command, offers, places)
        project = self._host.quotas.hold(_both(own), limit_class.limits)
        storage = {} if project is None else project.entries(confined=bool(isolated.seccomp))
        isolation_held = isolation.report(command, offers)
        effective = replace(grant.effective, isolation=isolation_held, quotas=storage)
        user = effective.user
        directories = self._directories(own, project)
        job = SupervisedJob(
            self._loop, start.id, start.opaque, effective, processes, self._forgotten
        )
        job.send = send
        self.jobs[start.id] = job
        pipes: dict[str, int] = {}
        child_ends: list[int] = []
        try:
            check_limits(effective.held(processes), limit_class, effective.totals)
            check_isolation(command, limit_class, offers, root=self._host.hierarchy is not None)
            for name in ("stdout",) if command.merge_stderr else ("stdout", "stderr"):
                pipes[name], write_end = standard_pipes.make_output(user)
                child_ends.append(write_end)
            standard_input = standard_pipes.make_input(pipes, user) if grant.stdin else None
            child_ends.append(
                standard_pipes.no_input() if standard_input is None else standard_input
            )
            plan = Plan(
                executable_fd=grant.executable.fd,
                argv=[_bytes(text) for text in effective.argv],
                env={_bytes(key): _bytes(value) for key, value in env.items()},
                workdir=workdir,
                user=user,
                entrance=processes.entrance(),
                stdin_fd=child_ends[-1],
                stdout_fd=child_ends[0],
                stderr_fd=child_ends[-2],
                isolation=isolated,
                rlimits=rlimits.for_jobs(limit_class),
            )
            job.start(plan, pipes, directories)
            if any(entry.state != "enforced" for entry in effective.storage()):
                self._watch(start.id, limit_class.limits, own, processes)
            if processes.limit_check is not None:
                self._limits.add(start.id, processes.limit_check)
        except (Refusal, GroupError, OSError) as error:
            for fd in pipes.values():
                os.close(fd)
            refusal = error if isinstance(error, Refusal) else _failure(grant, "prepare", error)
            job.discard(directories, refusal.message(start.id))
        finally:
            for fd in child_ends:
                os.close(fd)

    def _watch(self, name: str, limits: ResourceLimits, own: str, processes: Processes) -> None:
        if limits.storage_bytes is None and limits.files is None:
            return
        group, subreaper = processes.place()
        self._storage.add(
            Watched(name, _both(own), limits.storage_bytes, limits.files, group, subreaper)
        )

    def _directories(self, own: str, project: Project | None) -> workdirs.Workdir:
        if project is None:
            return workdirs.Workdir(self._loop, own)
        return workdirs.Workdir(self._loop, own, lambda: self._host.quotas.free(project))

    def _over(self, name: str) -> None:
        job = self.jobs.get(name)
        if job is not None:
            job.storage_full()

    def _make_workdir(self, start: Start, grant: CheckedStart) -> str:
        try:
            own_view = isolation.needs_temporary(grant.effective.command, self._host.offers)
            return workdirs.make(self._host.work_root, start.id, grant.effective.user, own_view)
        except OSError as error:
            raise _failure(grant, "directory", error) from error

    def _confine(
        self, name: str, limit_class: LimitClass, client: ClientPolicy, workdir: str
    ) -> Processes:
        if self._host.hierarchy is None:
            return SubreaperProcesses(self._loop)
        totals = ClientTotals(group_name(client.id), client.totals.limits)
        device = block_device(workdir)
        group = self._host.hierarchy.create(name, limit_class.limits, device, totals)
        return CgroupProcesses(self._loop, group)

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


def _both(own: str) -> tuple[str, ...]:
    """A job's own directory and that for its temporary files, if it has one."""
    return tuple(path for path in (own, workdirs.temporary(own)) if os.path.isdir(path))


def _failure(grant: CheckedStart, stage: str, error: Exception) -> Refusal:
    """What the client hears has no path of ours in it; the log has everything."""
    log(f"{grant.effective.command.name} could not be started: {stage}: {error}")
    code = error.errno or 0 if isinstance(error, OSError) else 0
    why = os.strerror(code) if code else "penstockd's log says why"
    text = f"{grant.effective.command.name} could not be started: {stage}: {why}"
    return Refusal(protocol.FAILED, text, stage, code)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
