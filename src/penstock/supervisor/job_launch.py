"""A granted start becomes a job: its directory, its groups, its pipes, its first process."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..policy.limit_classes import LimitClass, ResourceLimits
from ..policy.policy_file import ClientPolicy
from . import isolation
from .cgroups import ClientTotals, GroupError, Hierarchy, block_device, group_name
from .ipc import protocol
from .ipc.from_server import Start
from .ipc.server_socket import Send
from .job import job_environment, rlimits, standard_pipes
from .job.cgroup_processes import CgroupProcesses, Processes
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


class JobLauncher:
    """Launches jobs into ``jobs``, and has their storage and their limits looked at."""

    def __init__(
        self,
        loop: Loop,
        jobs: dict[str, SupervisedJob],
        storage: StorageWatch,
        limits: LimitRounds,
        on_forgotten: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._jobs = jobs
        self._storage = storage
        self._limits = limits
        self._on_forgotten = on_forgotten

    def launch(self, host: Host, start: Start, grant: CheckedStart, send: Send) -> None:
        """Raises Refusal before anything is there; after that the job, which is held from then on,
        itself reports what fails."""
        command, limit_class = grant.effective.command, grant.effective.limit_class
        own = _make_workdir(host, start, grant)
        workdir = command.workdir or own
        try:
            processes = self._confine(host, start.id, limit_class, grant.client, workdir)
        except (GroupError, OSError) as error:
            workdirs.discard(own)
            raise _failure(grant, "group", error) from error
        offers = host.offers
        env = job_environment.environment(grant, start.id, workdir)
        places = job_environment.places(grant, workdir, workdirs.temporary(own), env["HOME"])
        isolated = isolation.make_isolation(command, offers, places)
        project = host.quotas.hold(_both(own), limit_class.limits)
        storage = {} if project is None else project.entries(confined=bool(isolated.seccomp))
        isolation_held = isolation.report(command, offers)
        effective = replace(grant.effective, isolation=isolation_held, quotas=storage)
        user = effective.user
        directories = self._directories(host, own, project)
        job = SupervisedJob(
            self._loop, start.id, start.opaque, effective, processes, self._on_forgotten
        )
        job.send = send
        self._jobs[start.id] = job
        pipes: dict[str, int] = {}
        child_ends: list[int] = []
        try:
            check_limits(effective.held(processes), limit_class, effective.totals)
            check_isolation(command, limit_class, offers, root=host.hierarchy is not None)
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

    def _directories(self, host: Host, own: str, project: Project | None) -> workdirs.Workdir:
        if project is None:
            return workdirs.Workdir(self._loop, own)
        return workdirs.Workdir(self._loop, own, lambda: host.quotas.free(project))

    def _confine(
        self, host: Host, name: str, limit_class: LimitClass, client: ClientPolicy, workdir: str
    ) -> Processes:
        if host.hierarchy is None:
            return SubreaperProcesses(self._loop)
        totals = ClientTotals(group_name(client.id), client.totals.limits)
        device = block_device(workdir)
        group = host.hierarchy.create(name, limit_class.limits, device, totals)
        return CgroupProcesses(self._loop, group)


def _make_workdir(host: Host, start: Start, grant: CheckedStart) -> str:
    try:
        own_view = isolation.needs_temporary(grant.effective.command, host.offers)
        return workdirs.make(host.work_root, start.id, grant.effective.user, own_view)
    except OSError as error:
        raise _failure(grant, "directory", error) from error


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
