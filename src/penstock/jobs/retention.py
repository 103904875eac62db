"""Which finished jobs are forgotten, with their output: by age and count (pure)."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """Seconds since a job's end, and finished jobs of one client; None is no bound."""

    keep_s: float | None = None
    keep_jobs: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished job. ``ended_at``: monotonic seconds."""

    id: str
    owner: str
    ended_at: float


def expired(jobs: Iterable[Finished], retention: Retention, now: float) -> list[str]:
    """The ids of those to forget, oldest first."""
    found = []
    count: defaultdict[str, int] = defaultdict(int)
    for job in sorted(jobs, key=_newest_first):
        count[job.owner] += 1
        too_many = retention.keep_jobs is not None and count[job.owner] > retention.keep_jobs
        if too_many or (retention.keep_s is not None and job.ended_at + retention.keep_s <= now):
            found.append(job.id)
    return found[::-1]


def next_expiry(jobs: Iterable[Finished], retention: Retention) -> float:
    """When the next one will be too old; infinity: none will."""
    if retention.keep_s is None:
        return float("inf")
    return min((job.ended_at for job in jobs), default=float("inf")) + retention.keep_s


def _newest_first(job: Finished) -> float:
    return -job.ended_at
