"""Which finished jobs are forgotten, with their output: by age and count (pure)."""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retention:
    """Bounds on finished jobs: seconds since their end, and their number for each client.

    None is no bound.
    """

    keep_s: float | None = None
    keep_jobs: int | None = None


class Shelf:
    """Finished jobs of each client, in the order in which they have ended.

    What one more costs does not depend on how many there are.
    """

    def __init__(self, retention: Retention) -> None:
        self.retention = retention
        self._owners: dict[str, OrderedDict[str, float]] = {}

    def add(self, owner: str, job_id: str, ended_at: float) -> None:
        """Adds a finished job. ``ended_at`` is in monotonic seconds, and not before that of the
        owner's last one."""
        self._owners.setdefault(owner, OrderedDict())[job_id] = ended_at

    def discard(self, owner: str, job_id: str) -> None:
        """Removes a job that was forgotten for another reason. Does nothing if it is not here."""
        self._owners.get(owner, OrderedDict()).pop(job_id, None)

    def oldest(self, owner: str) -> list[str]:
        """The owner's finished jobs, oldest first."""
        return list(self._owners.get(owner, ()))

    def expired(self, now: float) -> list[str]:
        """The ids of those to forget: too many, or ``keep_s`` old."""
        found = []
        keep_s, keep_jobs = self.retention.keep_s, self.retention.keep_jobs
        for jobs in self._owners.values():
            over = 0 if keep_jobs is None else len(jobs) - keep_jobs
            for number, (job_id, ended_at) in enumerate(jobs.items()):
                if number >= over and (keep_s is None or ended_at + keep_s > now):
                    break
                found.append(job_id)
        return found

    def next_expiry(self) -> float:
        """When the next job will be too old, in monotonic seconds; infinity if none will."""
        keep_s = self.retention.keep_s
        if keep_s is None:
            return float("inf")
        oldest = [next(iter(jobs.values())) for jobs in self._owners.values() if jobs]
        return min(oldest, default=float("inf")) + keep_s
