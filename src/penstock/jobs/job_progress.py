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
from .limit_requests import LimitRequests
from .output.output_log import OutputLog
from .output.output_quota import OutputBound
from .states import JobEvent, JobState, after
from .stop_notes import StopAsked


@uninterrupted_methods
class JobProgress:
    """What is known of one job, and each step that it takes. A step's method is called only by the
    code that brings it about: the job's own task (lifecycle.py), its stop (stop.py), the history
    and the manager. None of them is a checkpoint.
    """

    # Slots, because instances with more than 30 attributes no longer share the keys of their
    # dictionaries, which would cost 1.5 KiB for each idle job.
    __slots__ = (
        "_log_or_loader",
        "backend",
        "begun",
        "bound",
        "end",
        "ended_at",
        "final_usage",
        "finished",
        "generation",
        "handle",
        "id",
        "input",
        "limit_requests",
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
        """``log`` may be a function that loads it, called when the log is first needed."""
        self.id = job_id
        self.sequence = sequence
        self.owner = owner
        self.spec = spec
        self.policy_hash = policy_hash
        self.generation = ""
        """Of what its start was decided by; see start_attempts.py."""
        self.handle = ""
        self.started = NOT_STARTED
        """The supervisor's account of its start; NOT_STARTED until then."""
        self.state = JobState.STARTING
        self.end: EndRecord | None = None
        self.ended_at = 0.0
        """On Trio's clock, because the system's may step."""
        self.bound = bound
        # What the job's own task (lifecycle.py) sets.
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
        """None: the job was started without input, or does not run yet."""
        self.backend: Backend | None = None
        """The backend while the job runs; None before and after."""
        # What callers ask for.
        self.pause_asked = False
        """Some of its processes may stand still, so a stop resumes them."""
        self.stop_asked: StopAsked | None = None
        self.on_stop: Callable[[], None] | None = None
        self.limit_requests: LimitRequests | None = None
        """None until a caller has asked for the first time."""
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

    def advance(self, event: JobEvent) -> None:
        """To the state after this event. Raises IllegalTransition, a bug of ours."""
        self.state = after(self.state, event)

    def has_started(self, started: Started) -> None:
        """Its process runs; it has no handle yet, so no client can name it."""
        self.started = started
        self.sampler = usage.Sampler(started.usage_files, started.started_ns)

    def has_handle(self, handle: str) -> None:
        """Its start is recorded, so clients can name it."""
        self.handle = handle
        self.advance(JobEvent.STARTED)

    def take_over(self, stop_asked: StopAsked | None) -> None:
        """It runs on from an earlier life of the server, in which a client may have asked for its
        end."""
        self.advance(JobEvent.STARTED)
        self.stop_asked = stop_asked

    def attach(self, backend: Backend, on_stop: Callable[[], None]) -> None:
        """From now on callers can signal and pause it; ``on_stop`` is called whenever
        ``stop_asked`` was set or its grace was shortened."""
        self.backend = backend
        self.on_stop = on_stop
        self.begun.set()

    def detach(self) -> None:
        """From now on there is no process that callers could signal or pause."""
        self.backend = None

    def begins_paused(self, paused: bool) -> None:
        """Whether an earlier server has left it paused."""
        self.pause_asked = paused

    def takes_input(self, given: JobInput) -> None:
        """From now on clients can send it input."""
        self.input = given

    def limits_changed(self, changed: Changed) -> None:
        """Another process has written its limits; ``started`` says what is held now."""
        self.started = replace(self.started, held=changed.held)

    def could_not_start(self, error: job_errors.JobError, end: EndRecord | None = None) -> None:
        """Nothing of it is left. Callers that wait for its start get ``error``."""
        self.start_error = error
        self.end = end or self.end
        if not self.log.ended:
            self.log.finish()
        self.begun.set()
        self.finished.set()

    def all_dead(self) -> None:
        """No process is left, so none can be unkillable; what remains is the end record."""
        self.unkillable = trio.Event()

    def has_survivors(self, survivors: Sequence[Left]) -> None:
        """These processes were sent KILL UNKILLABLE_S ago; callers that stop the job get their
        names."""
        self.survivors = survivors
        self.unkillable.set()

    def is_unrecorded(self) -> None:
        """No process is left, and the end cannot be recorded now, so waiting callers get
        NotRecorded."""
        self.unrecorded.set()

    def has_ended(self, end: EndRecord, counters: Mapping[str, Any]) -> None:
        """Its end is durable, so readers and waiting callers see it from now on."""
        self.advance(JobEvent.RECORDED)
        self.end = end
        self.ended_at = trio.current_time()
        self.final_usage = usage.final(counters, end.ended_ns)
        self.log.finish()
        self.finished.set()

    def is_given_up(self) -> None:
        """Readers and waiting callers end without an end record, because the server ends."""
        if self.end is not None or self.finished.is_set():
            return
        if not self.log.ended:
            self.log.finish()
        if not self.begun.is_set():
            self.start_error = job_errors.Unavailable("the server has ended; ask the next one")
            self.begun.set()
        self.finished.set()

    def is_over(self) -> None:
        """Waiting callers return now, whether or not its end is known."""
        self.finished.set()

    def ended_ago(self, seconds: float) -> None:
        """Its end was so many seconds before now."""
        self.ended_at = trio.current_time() - seconds

    def set_ended(self, end: EndRecord) -> None:
        """Recovery: what became of the job is known now."""
        self.end = end
        self.state = JobState.FINISHED
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
        """Its output; loads it if need be, which raises OSError."""
        if not isinstance(self._log_or_loader, OutputLog):
            self._log_or_loader = self._log_or_loader()
        return self._log_or_loader

    @property
    def log_if_loaded(self) -> OutputLog | None:
        """The same, but None instead of loading it."""
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
