"""What ``top`` knows of each job: figures of now, and how they were a while before (pure)."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from ..proto import command_pb2 as pb

HISTORY: Final = 60
"""So many samples of each figure are kept."""
_NANO: Final = 1e9
_Counter = Literal["cpu_total_s", "throttled_s", "read_bytes", "write_bytes"]


@dataclass(slots=True)
class JobFigures:
    """One job. A figure is None until it was measured: rates need two samples."""

    job: pb.Job
    cpu_percent: float | None = None
    """Of one core."""
    memory_bytes: float | None = None
    io_bytes_per_s: float | None = None
    output_bytes_per_s: float | None = None
    throttled_percent: float | None = None
    """Of the time, how long its CPU limit has held it up; of several cores it may be over 100."""
    cpu: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))
    memory: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))
    io: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY))
    answer: pb.StatusResponse | None = None
    """The newest one."""
    asked_at: float = float("-inf")
    """When it was asked for last, on whatever clock the caller has."""
    _last: tuple[float, pb.ResourceUsage, int] | None = None

    def sample(self, answer: pb.StatusResponse) -> None:
        """Takes what a Status has said: one more point of each plot."""
        self.answer = answer
        usage, job = answer.usage, answer.job
        at = usage.sample_ns / _NANO
        if self._last is not None and at > self._last[0]:
            before_at, before, output = self._last
            passed = at - before_at
            self.cpu_percent = _rate(usage, before, "cpu_total_s", passed, 100)
            self.throttled_percent = _rate(usage, before, "throttled_s", passed, 100)
            read = _rate(usage, before, "read_bytes", passed)
            written = _rate(usage, before, "write_bytes", passed)
            self.io_bytes_per_s = None if read is None or written is None else read + written
            self.output_bytes_per_s = max(0, job.output_next_offset - output) / passed
        self.memory_bytes = usage.memory_bytes if usage.HasField("memory_bytes") else None
        if usage.sample_ns:
            self._last = (at, usage, job.output_next_offset)
        self.cpu.append(self.cpu_percent)
        self.memory.append(self.memory_bytes)
        self.io.append(self.io_bytes_per_s)
        self.job = job


def _rate(
    now: pb.ResourceUsage,
    before: pb.ResourceUsage,
    name: _Counter,
    passed_s: float,
    times: float = 1,
) -> float | None:
    """What has come to a counter, a second; None if it is not measured."""
    if not now.HasField(name) or not before.HasField(name):
        return None
    # A counter that went back is no negative rate.
    return max(0.0, float(getattr(now, name) - getattr(before, name))) / passed_s * times


SORTS: Final[dict[str, Callable[[JobFigures], float]]] = {
    "cpu": lambda each: each.cpu_percent or 0.0,
    "memory": lambda each: each.memory_bytes or 0.0,
    "io": lambda each: each.io_bytes_per_s or 0.0,
    "output": lambda each: each.output_bytes_per_s or 0.0,
    "throttled": lambda each: each.throttled_percent or 0.0,
    "started": lambda each: each.job.started_ns,
}
"""By what the table can be sorted, the most first; of equals the newest."""


class FiguresTable:
    """The unfinished jobs of one client, as List, Watch and Status tell of them."""

    def __init__(self) -> None:
        self._by_handle: dict[str, JobFigures] = {}
        self.ended = 0
        """How many have ended since the table was begun."""

    def __len__(self) -> int:
        return len(self._by_handle)

    def replace(self, jobs: Iterable[pb.Job]) -> None:
        """Takes a whole list; figures of jobs that are still there stay."""
        before = self._by_handle
        self._by_handle = {}
        for job in jobs:
            figures = before.get(job.handle) or JobFigures(job)
            figures.job = job
            self._by_handle[job.handle] = figures

    def apply(self, change: pb.WatchResponse) -> None:
        """Takes one change."""
        handle = change.handle
        if change.removed or change.job.state == pb.JOB_STATE_FINISHED:
            self.remove(handle)
        elif change.HasField("job"):
            if handle in self._by_handle:
                self._by_handle[handle].job = change.job
            else:
                self._by_handle[handle] = JobFigures(change.job)

    def remove(self, handle: str) -> None:
        """Takes it that the job has ended; nothing if that is known."""
        if self._by_handle.pop(handle, None) is not None:
            self.ended += 1

    def get(self, handle: str) -> JobFigures | None:
        """The job's figures; None if it has ended."""
        return self._by_handle.get(handle)

    def ordered(self, sort: str, *, reverse: bool = False) -> list[JobFigures]:
        """All, in the order of one of SORTS."""
        key = SORTS[sort]
        return sorted(
            self._by_handle.values(),
            key=lambda each: (key(each), each.job.started_ns),
            reverse=not reverse,
        )

    def to_ask(self, visible: Sequence[JobFigures], most: int) -> list[JobFigures]:
        """Which jobs to ask for next: those that are seen, then those that were not asked for the
        longest time, because the order depends on them, too."""
        chosen = list(visible[:most])
        seen = {each.job.handle for each in chosen}
        others = [each for handle, each in self._by_handle.items() if handle not in seen]
        others.sort(key=lambda each: each.asked_at)
        return chosen + others[: most - len(chosen)]

    def total(self, figure: Callable[[JobFigures], float | None]) -> float | None:
        """The sum over all jobs, of what was measured; None if there are jobs and none was, as
        without cgroups."""
        measured = [it for each in self._by_handle.values() if (it := figure(each)) is not None]
        return sum(measured) if measured or not self._by_handle else None
