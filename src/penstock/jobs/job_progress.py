"""How far one job has come: what is known of it, and the steps that it takes, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import trio

from ..concurrency.interrupts import uninterrupted_methods
from ..supervisor.ipc.from_supervisor import Changed, Left
from ..supervisor.ipc.started import NOT_STARTED, Started
from . import job_errors, usage
from .backends.base import Backend, JobSpec
from .end_record import EndRecord
from .input import JobInput
from .job_rows import JobRecord
from .limit_checks import LimitAsking
from .output.output_log import OutputLog
from .output.output_quota import OutputBound
from .states import Event, State, after
from .stop_notes import StopAsked


@uninterrupted_methods
class JobProgress:
    """What is known of one job, and each step that it takes. Only those who bring a step about call
    its method: the job's own task (lifecycle.py), its stop (stop.py), the history and the manager.
    """

    # More than 30 attributes have no dictionary in common any more: 1.5 KiB for each idle job.
    __slots__ = (
        "_log_or_loader",
        "backend",
        "begun",
        "bound",
        "end",
        "ended_at",
        "final_usage",
        "finished",
        "handle",
        "id",
        "input",
        "limit_asking",
        "on_stop",
        "owner",
        "pause_asked",
        "policy_hash",
        "sampler",
        "sequence",
        "spec",
        "start_error",
        "started",
        "state",
        "stop_asked",
        "survivors",
        "unkillable",
        "unrecorded",
    )

    def __init__(
        self,
        job_id: str,
        sequence: int,
        owner: str,
        spec: JobSpec,
        policy_hash: str,
        log: OutputLog | Callable[[], OutputLog],
        bound: OutputBound,
    ) -> None:
        """``log`` may be how to have it once somebody wants it."""
        self.id = job_id
        self.sequence = sequence
        self.owner = owner
        self.spec = spec
        self.policy_hash = policy_hash
        self.handle = ""
        self.started = NOT_STARTED
        """What its start became."""
        self.state = State.STARTING
        self.end: EndRecord | None = None
        self.ended_at = 0.0
        """On Trio's clock; the system's may step."""
        self.bound = bound
        # What the job's own task (lifecycle.py) tells.
        self.sampler: usage.Sampler | None = None
        self.final_usage: usage.Usage | None = None
        self.begun = trio.Event()
        """It runs, or its start has failed with ``start_error``."""
        self.start_error: job_errors.JobError | None = None
        self.finished = trio.Event()
        """``end`` is there, or the manager has given it up."""
        self.unkillable = trio.Event()
        self.unrecorded = trio.Event()
        """All are dead, and their end could not be recorded for RECORD_PATIENCE_S."""
        self.survivors: Sequence[Left] = ()
        self.input: JobInput | None = None
        """None: it was started without."""
        self.backend: Backend | None = None
        """While it runs."""
        # What it is told.
        self.pause_asked = False
        """Some of it may stand still."""
        self.stop_asked: StopAsked | None = None
        self.on_stop: Callable[[], None] | None = None
        self.limit_asking: LimitAsking | None = None
        """Once anybody has asked."""
        self._log_or_loader = log

    @classmethod
    def from_record(
        cls, record: JobRecord, log: OutputLog | Callable[[], OutputLog], bound: OutputBound
    ) -> Self:
        """A job of an earlier life, as the store has it. Raises what is in job_rows.DAMAGE."""
        job = cls(record.id, record.sequence, record.owner, record.spec, record.policy, log, bound)
        if record.started is not None:
            job.handle = record.handle or ""
            job.started = record.started
        if record.end is not None:
            job.set_ended(record.end)
        return job

    # Its steps.

    def advance(self, event: Event) -> None:
        """To the state after that."""
        self.state = after(self.state, event)

    def has_started(self, started: Started) -> None:
        """Its process runs; nobody can name it yet."""
        self.started = started
        self.sampler = usage.Sampler(started.usage_files, started.started_ns)

    def has_handle(self, handle: str) -> None:
        """That is recorded, so it can be named."""
        self.handle = handle
        self.advance(Event.STARTED)

    def take_over(self, stop_asked: StopAsked | None) -> None:
        """It runs on from an earlier life, in which somebody may have asked for its end."""
        self.advance(Event.STARTED)
        self.stop_asked = stop_asked

    def runs_on(self, backend: Backend, on_stop: Callable[[], None]) -> None:
        """From now on it can be asked for something; ``on_stop`` is called for ``stop_asked``."""
        self.backend = backend
        self.on_stop = on_stop
        self.begun.set()

    def runs_no_more(self) -> None:
        """There is nobody who could be asked."""
        self.backend = None

    def begins_paused(self, paused: bool) -> None:
        """As an earlier server has left it."""
        self.pause_asked = paused

    def takes_input(self, given: JobInput) -> None:
        """From now on."""
        self.input = given

    def limits_changed(self, changed: Changed) -> None:
        """Somebody else has written them; ``started`` says what is held now."""
        self.started = replace(self.started, held=changed.held)

    def could_not_start(self, error: job_errors.JobError, end: EndRecord | None = None) -> None:
        """Nothing of it is left."""
        self.start_error = error
        self.end = end or self.end
        if not self.log.ended:
            self.log.finish()
        self.begun.set()
        self.finished.set()

    def all_dead(self) -> None:
        """Nobody is left who could survive anything; what remains is the end record."""
        self.unkillable = trio.Event()

    def has_survivors(self, survivors: Sequence[Left]) -> None:
        """They were sent KILL UNKILLABLE_S ago."""
        self.survivors = survivors
        self.unkillable.set()

    def is_unrecorded(self) -> None:
        """All are dead, and their end cannot be recorded now."""
        self.unrecorded.set()

    def has_ended(self, end: EndRecord, counters: Mapping[str, Any]) -> None:
        """Its end is durable."""
        self.advance(Event.RECORDED)
        self.end = end
        self.ended_at = trio.current_time()
        self.final_usage = usage.final(counters, end.ended_ns)
        self.log.finish()
        self.finished.set()

    def is_given_up(self) -> None:
        """Whoever reads or waits ends, without an end record: the server does."""
        if self.end is not None or self.finished.is_set():
            return
        if not self.log.ended:
            self.log.finish()
        if not self.begun.is_set():
            self.start_error = job_errors.Unavailable("the server has ended; ask the next one")
            self.begun.set()
        self.finished.set()

    def is_over(self) -> None:
        """Nobody waits for more of it, whatever is known of its end."""
        self.finished.set()

    def ended_ago(self, seconds: float) -> None:
        """So long before now."""
        self.ended_at = trio.current_time() - seconds

    def set_ended(self, end: EndRecord) -> None:
        """Recovery: what became of the job is known now."""
        self.end = end
        self.state = State.FINISHED
        counters = {
            "cpu_total_s": end.cpu_total_s,
            "throttled_s": end.throttled_s,
            "memory_peak_bytes": end.memory_peak_bytes,
            "read_bytes": end.read_bytes,
            "write_bytes": end.write_bytes,
            "oom_kills": end.oom_kills,
        }
        self.final_usage = usage.final(counters, end.ended_ns)
        if self.spec.stdin:
            self.input = JobInput.of_ended(self.handle, end.input_bytes, ended=end.input_ended)
        self.begun.set()
        self.finished.set()

    @property
    def log(self) -> OutputLog:
        """Its output."""
        if not isinstance(self._log_or_loader, OutputLog):
            self._log_or_loader = self._log_or_loader()
        return self._log_or_loader

    @property
    def log_if_loaded(self) -> OutputLog | None:
        """The same, unless nobody has asked for it since the server started."""
        return self._log_or_loader if isinstance(self._log_or_loader, OutputLog) else None

    @property
    def output_length(self) -> int:
        """Bytes of output so far, kept or not."""
        return self.end.output_bytes if self.end is not None else self.log.length

    @property
    def output_first(self) -> int:
        """Offset of the first byte that can still be had."""
        if self.end is not None and self.log_if_loaded is None:
            return self.end.sha256_from
        return self.log.first

    def usage(self) -> usage.Usage:
        """A sample now; the final counters of a finished job. No checkpoint."""
        if self.final_usage is not None:
            return self.final_usage
        return self.sampler.sample() if self.sampler is not None else usage.Usage()
