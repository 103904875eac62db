"""Names, labels and lists: whose a name is, and which jobs a list with a filter must have.

What must be there is what was known as the list was asked for, matches all the time, and is not
removed; what is there must match as its own message has it.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Final

import trio

from penstock.jobs.backends.base import JobSpec
from penstock.proto import command_pb2 as pb

from .programs import Op

if TYPE_CHECKING:
    from .world import World

LABEL: Final = "kind"
_UNFINISHED: Final = (
    pb.JOB_STATE_STARTING, pb.JOB_STATE_RUNNING, pb.JOB_STATE_STOPPING, pb.JOB_STATE_ENDING,
)  # fmt: skip


def labels_of(op: Op) -> dict[str, str]:
    """Of a start."""
    return {LABEL: op.label} if op.label else {}


class Naming:
    """Of all lives of a server."""

    def __init__(self, world: "World", job_of: Mapping[str, str], removed: Set[str]) -> None:
        """``job_of``: handle to id; ``removed`` are handles whose removal was asked for."""
        self._world = world
        self._job_of = job_of
        self._removed = removed
        self._started_ns: dict[str, int] = {}
        self._specs: dict[str, JobSpec] = {}
        self._of_name: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._until: dict[str, float] = {}

    # The records'.

    def begun(self, job_id: str, owner: str, spec: JobSpec) -> None:
        """A job's record was made."""
        self._specs[job_id] = spec
        if not spec.name:
            return
        others = [each for each in self._of_name[owner, spec.name] if each not in self._until]
        if others:
            self._world.fail(f"{1 + len(others)} unfinished jobs of {owner} are named {spec.name}")
        self._of_name[owner, spec.name].append(job_id)

    def over(self, job_id: str) -> None:
        """Its end was recorded, or its record is to go: it was never started, or is removed."""
        self._until.setdefault(job_id, trio.current_time())

    # The answers'.

    def refused(self, owner: str, name: str, began: float) -> None:
        """A start that began then was told that another job has the name."""
        named = self._of_name.get((owner, name), ())
        if not any(self._until.get(job_id, math.inf) >= began for job_id in named):
            self._world.fail(f"{owner} was refused the name {name}, which no job had")

    def told(self, job: pb.Job) -> None:
        """Any message with a job in it has what it was started with."""
        self._started_ns[job.handle] = job.started_ns
        spec = self._specs.get(self._job_of.get(job.handle, ""))
        if spec is not None and (job.name, dict(job.labels)) != (spec.name, spec.labels):
            self._world.fail(f"job {job.handle} has not the name and labels of its start")

    def list_of(self, op: Op, handle: str) -> pb.ListRequest:
        """What a list asks for, by its number; ``handle`` is some job's, or empty."""
        request = pb.ListRequest(all=op.flag)
        match op.number:
            case 1:
                request.name = op.name
            case 2:
                request.labels.update(labels_of(op))
            case 3:
                request.label_keys.append(LABEL)
            case 4:
                request.prefix = "n"
            case 5:
                request.prefix = handle
            case 6:
                request.since_ns = self._started_ns.get(handle, 0)
            case 7:
                request.states.append(pb.JOB_STATE_FINISHED)
            case 8:
                request.page_size = 1
        return request

    def listed(
        self,
        owner: str,
        request: pb.ListRequest,
        jobs: Sequence[pb.Job],
        known: Sequence[str],
        ended: Set[str],
    ) -> None:
        """All pages of a list. ``known`` are handles that were there, of which the ends of those in
        ``ended`` were told before."""
        found = [job.handle for job in jobs if job.handle]
        if len(set(found)) != len(found):
            self._world.fail(f"{owner}'s list has a job twice")
        for job in jobs:
            if not _matches(request, job) or job.state not in _states(request):
                self._world.fail(f"{owner}'s list has job {job.handle}, which it did not ask for")
        for handle in sorted(set(known) - set(found) - self._removed):
            if self._is_wanted(request, handle, ended) and _matches(request, self._job(handle)):
                self._world.fail(f"{owner}'s list leaves out job {handle}")

    def _is_wanted(self, request: pb.ListRequest, handle: str, ended: Set[str]) -> bool:
        """Whether its state was one of those all the time."""
        states = _states(request)
        if self._job_of[handle] not in self._world.ends:
            return pb.JOB_STATE_RUNNING in states
        if pb.JOB_STATE_RUNNING in states:
            return pb.JOB_STATE_FINISHED in states
        return handle in ended

    def _job(self, handle: str) -> pb.Job:
        spec = self._specs[self._job_of[handle]]
        return pb.Job(
            handle=handle,
            started_ns=self._started_ns[handle],
            name=spec.name,
            labels=spec.labels,
        )


def _states(request: pb.ListRequest) -> Sequence[pb.JobState]:
    if request.states:
        return request.states
    return (*_UNFINISHED, pb.JOB_STATE_FINISHED) if request.all else _UNFINISHED


def _matches(request: pb.ListRequest, job: pb.Job) -> bool:
    return (
        request.name in ("", job.name)
        and all(job.labels.get(key) == value for key, value in request.labels.items())
        and all(key in job.labels for key in request.label_keys)
        and any(text.startswith(request.prefix) for text in (job.handle, job.name))
        and (not job.started_ns or job.started_ns >= request.since_ns)
    )
