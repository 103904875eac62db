"""Jobs as protobuf messages (pure); here, because the job library knows no gRPC."""

from dataclasses import asdict
from typing import Final

from ..jobs.change_rows import What
from ..jobs.change_table import Change
from ..jobs.end_record import EndRecord
from ..jobs.input import JobInput
from ..jobs.job import Job
from ..jobs.output.gaps import Gap
from ..jobs.output.output_quota import OutputBound
from ..jobs.output.segment_index import StreamNumber
from ..jobs.states import JobState
from ..jobs.usage import Usage
from ..policy.limit_classes import Enforcement, ResourceLimits
from ..proto import command_pb2 as pb
from ..supervisor.cgroups.counters import Pressure, Stall

STREAMS: Final[dict[StreamNumber, pb.Stream]] = {1: pb.STREAM_STDOUT, 2: pb.STREAM_STDERR}
STATES: Final = {
    JobState.STARTING: pb.JOB_STATE_STARTING,
    JobState.RUNNING: pb.JOB_STATE_RUNNING,
    JobState.STOPPING: pb.JOB_STATE_STOPPING,
    JobState.ENDING: pb.JOB_STATE_ENDING,
    JobState.FINISHED: pb.JOB_STATE_FINISHED,
}

_BECAME: Final[dict[What, pb.JobState]] = {
    "running": pb.JOB_STATE_RUNNING,
    "paused": pb.JOB_STATE_RUNNING,
    "resumed": pb.JOB_STATE_RUNNING,
    "stopping": pb.JOB_STATE_STOPPING,
    "finished": pb.JOB_STATE_FINISHED,
    "removed": pb.JOB_STATE_FINISHED,
}


def end_message(end: EndRecord) -> pb.EndRecord:
    """The end record as its message; what was not measured stays unset."""
    return pb.EndRecord(
        reason=end.reason,
        exit_code=end.exit_code,
        signal=end.signal,
        stopped_by=end.stopped_by,
        stop_reason=end.stop_reason,
        escalated=end.escalated,
        processes_killed=end.processes_killed,
        oom_kills=end.oom_kills,
        memory_peak_bytes=end.memory_peak_bytes,
        cpu_total_s=end.cpu_total_s,
        throttled_s=end.throttled_s,
        read_bytes=end.read_bytes,
        write_bytes=end.write_bytes,
        output_bytes=end.output_bytes,
        output_sha256=end.output_sha256,
        sha256_from=end.sha256_from,
        sha256_to=end.sha256_to,
        ended_ns=end.ended_ns,
        detail=end.detail,
        gaps=[gap_message(gap) for gap in end.gaps],
    )


def gap_message(gap: Gap) -> pb.Gap:
    """The missing bytes of a log as offsets, and the reason why they are missing."""
    return pb.Gap(from_offset=gap.start, to_offset=gap.end, reason=gap.reason)


def enforcement_message(entry: Enforcement) -> pb.Enforcement:
    """One limit as asked for, how it is enforced, and where it is not, why."""
    return pb.Enforcement(
        limit=entry.limit, state=entry.state, actual=entry.actual, detail=entry.detail
    )


def limits_message(limits: ResourceLimits, bound: OutputBound | None = None) -> pb.Limits:
    """What may be used; what is not limited stays 0. ``bound`` is of one job's log."""
    return pb.Limits(
        cpu_cores=limits.cpu_cores or 0,
        memory_bytes=limits.memory_bytes or 0,
        disk_read_bytes_per_s=limits.disk_read_bytes_per_s or 0,
        disk_write_bytes_per_s=limits.disk_write_bytes_per_s or 0,
        processes=limits.processes or 0,
        output_bytes_per_s=limits.output_bytes_per_s or 0,
        storage_bytes=limits.storage_bytes or 0,
        files=limits.files or 0,
        output_bytes=bound.limit_bytes or 0 if bound else 0,
        output_when_full=bound.when_full if bound else "",
    )


def totals_message(limits: ResourceLimits) -> pb.Limits | None:
    """What a client's jobs may use together; None without any limit."""
    return None if limits == ResourceLimits() else limits_message(limits)


def job_message(job: Job) -> pb.Job:
    """The job as its owner sees it now; a snapshot, no checkpoint."""
    started = job.started
    return pb.Job(
        handle=job.handle,
        os_pid=started.pid,
        owner=job.owner,
        command=job.spec.command,
        argv=started.argv,
        state=STATES[job.state],
        started_ns=started.started_ns,
        ended_ns=job.end.ended_ns if job.end else 0,
        class_name=started.class_name,
        limits=limits_message(started.limits, job.bound),
        enforcement=[enforcement_message(entry) for entry in started.held.enforcement],
        output_first_offset=job.output_first,
        output_next_offset=job.output_length,
        policy_revision=job.policy_hash,
        end=end_message(job.end) if job.end else None,
        client_limits=totals_message(started.client_limits),
        client_enforcement=[
            enforcement_message(entry) for entry in started.held.client_enforcement
        ],
        paused=job.paused,
        input=input_message(job.input) if job.input else None,
        timeout_s=started.timeout_s or 0.0,
        name=job.spec.name,
        labels=job.spec.labels,
        given=pb.GivenArguments(values=job.spec.arguments),
    )


def change_message(change: Change, job: Job | None) -> pb.WatchResponse:
    """One change of a job's record, with the job as it is now, unless it is gone. A row that a
    damaged disk has garbled is shown without its state."""
    what = change.what
    return pb.WatchResponse(
        sequence=change.sequence,
        state=_BECAME.get(what, pb.JOB_STATE_UNSPECIFIED),
        time_ns=change.time_ns,
        job=None if job is None else job_message(job),
        handle=change.handle,
        removed=what == "removed",
        paused=what == "paused" if what in ("paused", "resumed") else None,
    )


def input_message(given: JobInput) -> pb.JobInput:
    """How many bytes the job was sent so far, and whether its input has ended."""
    return pb.JobInput(accepted=given.accepted, closed=given.closed)


def usage_message(usage: Usage) -> pb.ResourceUsage:
    """One sample of what a job uses."""
    return pb.ResourceUsage(
        cpu_percent=usage.cpu_percent,
        cpu_total_s=usage.cpu_total_s,
        throttled_s=usage.throttled_s,
        memory_bytes=usage.memory_bytes,
        cache_bytes=usage.cache_bytes,
        memory_peak_bytes=usage.memory_peak_bytes,
        read_bytes=usage.read_bytes,
        write_bytes=usage.write_bytes,
        read_bytes_per_s=usage.read_bytes_per_s,
        write_bytes_per_s=usage.write_bytes_per_s,
        operations_per_s=usage.operations_per_s,
        processes=usage.processes,
        oom_kills=usage.oom_kills,
        sample_ns=usage.sample_ns,
        periods=usage.periods,
        throttled_periods=usage.throttled_periods,
        read_operations=usage.read_operations,
        write_operations=usage.write_operations,
        cpu_pressure=_pressure(usage.cpu_pressure),
        memory_pressure=_pressure(usage.memory_pressure),
        io_pressure=_pressure(usage.io_pressure),
    )


def _pressure(pressure: Pressure | None) -> pb.Pressure | None:
    if pressure is None:
        return None
    return pb.Pressure(some=_stall(pressure.some), full=_stall(pressure.full))


def _stall(stall: Stall | None) -> pb.Stall | None:
    return None if stall is None else pb.Stall(**asdict(stall))
