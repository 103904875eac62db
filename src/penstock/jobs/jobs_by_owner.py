"""A client's jobs in order, without a look at any other client's."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Final

from .job import Job
from .job_filter import JobFilter
from .states import JobState

# What one slice of a walk may cost: so many jobs are looked at, at 0.3 to 2 us of processor each,
# the most for a filter and jobs with sixteen labels; so a slice takes up to 2 ms of it. One that
# matches costs its caller as much as some forty looks.
_LOOKS_A_SLICE: Final = 1000
_LOOKS_A_MATCH: Final = 40


class JobsByOwner:
    """The jobs of one owner, oldest first: all of them, those that may not have finished, and those
    of each name."""

    __slots__ = ("_names", "all", "unfinished")

    def __init__(self) -> None:
        self.all: list[Job] = []
        self.unfinished: list[Job] = []
        """None that has not finished is missing here. One that has just finished may be there."""
        self._names: dict[str, list[Job]] = {}

    def add(self, job: Job) -> None:
        """From now on it is found, by its name, too."""
        insort(self.all, job, key=_sequence)
        if job.state is not JobState.FINISHED:
            insort(self.unfinished, job, key=_sequence)
        if job.spec.name:
            insort(self._names.setdefault(job.spec.name, []), job, key=_sequence)

    def finished(self, job: Job) -> None:
        """It is no longer among those that may not have finished."""
        _discard(self.unfinished, job)

    def discard(self, job: Job) -> None:
        """It is forgotten. No error if it was before."""
        _discard(self.all, job)
        _discard(self.unfinished, job)
        named = self._names.get(job.spec.name)
        if named is not None:
            _discard(named, job)
            if not named:
                del self._names[job.spec.name]

    def named(self, name: str) -> Sequence[Job]:
        """Those of a name, oldest first."""
        return self._names.get(name, ())

    def holder_of(self, name: str) -> Job | None:
        """The job that has this name now, because it has not finished; None if there is none."""
        named = self.named(name)
        # The latest one: any other had finished before that one could have its name.
        return named[-1] if named and named[-1].state is not JobState.FINISHED else None


class JobWalk:
    """One walk through the jobs of an owner that a filter matches, newest first, in slices of a
    bounded cost.

    Jobs may come and go between two slices. Each that is there all the time, and matches when the
    walk comes by, is found once.
    """

    def __init__(self, jobs: JobsByOwner, wanted: JobFilter, before: int | None) -> None:
        """``before``: only jobs whose sequence is below it."""
        self._jobs = jobs
        self._wanted = wanted
        self._before = before

    def _next(self) -> tuple[Sequence[Job], int]:
        """The shortest list that has them all, and how many of it are still to be looked at."""
        if self._wanted.name:
            jobs = self._jobs.named(self._wanted.name)
        elif JobState.FINISHED in self._wanted.states:
            jobs = self._jobs.all
        else:
            jobs = self._jobs.unfinished
        if self._before is None:
            return jobs, len(jobs)
        return jobs, bisect_left(jobs, self._before, key=_sequence)

    @property
    def is_over(self) -> bool:
        """Whether no job is left to look at."""
        return self._next()[1] == 0

    def next_slice(self) -> list[Job]:
        """Those that match among the next jobs; none may. No checkpoint."""
        found: list[Job] = []
        looks = 0
        jobs, end = self._next()
        for index in range(end - 1, -1, -1):
            job = jobs[index]
            self._before = job.sequence
            looks += 1
            if self._wanted.matches(job):
                found.append(job)
                looks += _LOOKS_A_MATCH
            if looks >= _LOOKS_A_SLICE:
                break
        return found


def _sequence(job: Job) -> int:
    return job.sequence


def _discard(jobs: list[Job], job: Job) -> None:
    index = bisect_left(jobs, job.sequence, key=_sequence)
    if index < len(jobs) and jobs[index] is job:
        del jobs[index]
