"""Which of its jobs a client wants to see (pure)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from .job import Job
from .states import JobState

UNFINISHED: Final = frozenset(JobState) - {JobState.FINISHED}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """All of it must match; a text that is empty does, and ``since_ns`` 0.

    ``label_keys`` are labels with any value. ``since_ns``: started then or later; a job that is
    being started now matches, because it will have been. ``prefix``: its handle or its name
    begins with it.
    """

    states: Collection[JobState] = UNFINISHED
    command: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    label_keys: Collection[str] = frozenset()
    since_ns: int = 0
    prefix: str = ""

    def matches(self, job: Job) -> bool:
        """Whether the job, as it is now, is one of those."""
        spec = job.spec
        return (
            job.state in self.states
            and (not self.command or spec.command == self.command)
            and (not self.name or spec.name == self.name)
            and (not self.labels or self.labels.items() <= spec.labels.items())
            and (not self.label_keys or all(key in spec.labels for key in self.label_keys))
            and (not self.since_ns or not self._is_earlier(job))
            and (
                not self.prefix
                or spec.name.startswith(self.prefix)
                or job.handle.startswith(self.prefix)
            )
        )

    def _is_earlier(self, job: Job) -> bool:
        return job.state is not JobState.STARTING and job.started.started_ns < self.since_ns
