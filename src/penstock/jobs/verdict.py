"""How a job ended, and why a start did not happen: verdicts into records and errors (pure)."""

import time
from dataclasses import dataclass

from ..supervisor.ipc import protocol
from . import job_errors
from .backends.base import StartRefused, Verdict
from .end_record import BY_POLICY, EndRecord, Reason
from .output.output_log import OutputLog


@dataclass(frozen=True, slots=True)
class Ending:
    """What the job itself knows of its end, beside the backend's verdict."""

    stopped_by: str | None
    stop_reason: str
    escalated: bool
    output_error: OSError | None
    output_full: bool
    digest_error: OSError | None
    input_bytes: int
    input_ended: bool


def end_record(
    verdict: Verdict, ending: Ending, log: OutputLog, sha256: str, *, sealed: bool
) -> EndRecord:
    """The record of a job that ended now; ``sha256`` is of all that its log has."""
    counters = verdict.counters
    return EndRecord(
        reason=reason(verdict, ending),
        ended_ns=time.time_ns(),
        exit_code=verdict.code if verdict.kind == "exited" else None,
        signal=verdict.code if verdict.kind == "signaled" else None,
        stopped_by=ending.stopped_by or "",
        stop_reason=ending.stop_reason,
        escalated=ending.escalated or verdict.escalated,
        processes_killed=verdict.processes_killed,
        oom_kills=counters.get("oom_kills"),
        memory_peak_bytes=counters.get("memory_peak_bytes"),
        cpu_total_s=counters.get("cpu_total_s"),
        throttled_s=counters.get("throttled_s"),
        read_bytes=counters.get("read_bytes"),
        write_bytes=counters.get("write_bytes"),
        output_bytes=log.length,
        output_sha256=sha256,
        sha256_from=log.first,
        sha256_to=log.length,
        gaps=log.gaps(),
        stored_bytes=log.stored_bytes,
        sealed=sealed,
        detail=verdict.detail or _trouble(ending),
        input_bytes=ending.input_bytes,
        input_ended=ending.input_ended,
    )


def lost_record(log: OutputLog, *, sealed: bool, why: str) -> EndRecord:
    """The record of a job whose end was not seen; its output is what its log has."""
    return EndRecord(
        "lost",
        time.time_ns(),
        output_bytes=log.length,
        sha256_from=log.first,
        sha256_to=log.length,
        gaps=log.gaps(),
        stored_bytes=log.stored_bytes,
        sealed=sealed,
        detail=why,
    )


def _trouble(ending: Ending) -> str:
    """What the disk has done to it, without paths of the server, because clients see this."""
    if ending.output_error is not None:
        return f"its output could not be kept: {ending.output_error.strerror}"
    if ending.digest_error is not None:
        return f"its output could not be hashed: {ending.digest_error.strerror}"
    return ""


def reason(verdict: Verdict, ending: Ending) -> Reason:
    """Why it ended; what happened to the job comes before how its main process took it."""
    if verdict.kind == "lost":
        return "lost"
    if ending.output_error is not None:
        return "output_failed"
    if ending.output_full:
        return "output_full"
    if verdict.storage_full:
        return "storage_full"
    if verdict.timed_out:
        return "timed_out"
    if ending.stopped_by is not None:
        return "revoked" if ending.stopped_by == BY_POLICY else "stopped"
    # The kernel's OOM killer sends KILL; a shell whose child it was exits with 128 + 9.
    killed = (verdict.kind, verdict.code) in (("signaled", 9), ("exited", 128 + 9))
    if killed and verdict.counters.get("oom_kills", 0):
        return "out_of_memory"
    return verdict.kind


def start_error(refused: StartRefused) -> job_errors.JobError:
    """The error for the callers of a start that the backend refused, by its ``fault``."""
    match refused.fault:
        case protocol.DENIED:
            return job_errors.NotGranted(refused.message)
        case protocol.INVALID:
            return job_errors.InvalidRequest("argv", refused.message)
        case protocol.EXHAUSTED:
            return job_errors.Exhausted(refused.message)
        case protocol.STALE_POLICY | "lost":
            return job_errors.Unavailable(refused.message)
        case protocol.EXECUTABLE:
            return job_errors.Precondition("EXECUTABLE", refused.message)
        case protocol.UNENFORCED:
            return job_errors.Precondition("LIMIT_NOT_ENFORCED", refused.message)
        case _:
            return job_errors.Precondition("START_FAILED", refused.message)
