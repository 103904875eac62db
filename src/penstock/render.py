"""What people read about a job, the same in the API's text fields and on the terminal (pure)."""

from typing import Final

from .proto import command_pb2 as pb

_LABEL_WIDTH: Final = 10
_VALUE_WIDTH: Final = 11
_GAP_REASONS: Final = {
    "retention": "the oldest output made room for newer, or the job was removed",
    "quota": "the limit of what is kept was reached",
    "disk": "the server's disk was full or failing",
    "damaged": "the server's disk does not give back what was written",
}


def status_text(job: pb.Job, usage: pb.ResourceUsage) -> str:
    """From "Job 48213 is running." to the last rule of the table, without a line end."""
    if job.state == pb.JOB_STATE_FINISHED:
        end = job.end
        rows = [
            ("CPU:", duration(end.cpu_total_s)),
            ("Memory:", f"{si(end.memory_peak_bytes)}B"),
            ("Disk I/O:", f"{si(end.read_bytes + end.write_bytes)}B"),
        ]
    else:
        rows = [
            ("CPU:", f"{usage.cpu_percent:.0f}%"),
            ("Memory:", f"{si(usage.memory_bytes)}B"),
            ("Disk I/O:", f"{si(usage.operations_per_s)} iops"),
        ]
    return f"{sentence(job)}\n\n{table(rows)}"


def table(rows: list[tuple[str, str]]) -> str:
    """25 columns; a wider value widens all of it."""
    width = max(_VALUE_WIDTH, *(len(value) + 1 for _, value in rows))
    rule = "=" * (_LABEL_WIDTH + width + 4)
    lines = [f"|{label:<{_LABEL_WIDTH}}| {value:<{width}}|" for label, value in rows]
    return "\n".join([rule, *lines, rule])


def sentence(job: pb.Job) -> str:
    """What state the job is in, or how it ended."""
    name = f"Job {job.handle}"
    match job.state:
        case pb.JOB_STATE_FINISHED:
            return f"{name} {end_text(job.end)}"
        case pb.JOB_STATE_STARTING:
            return f"{name} is starting."
        case pb.JOB_STATE_STOPPING:
            return f"{name} is being stopped."
        case pb.JOB_STATE_ENDING:
            return f"{name} is ending."
        case pb.JOB_STATE_RUNNING if job.paused:
            return f"{name} is paused."
        case _:
            return f"{name} is running."


def end_text(end: pb.EndRecord) -> str:
    """How a job ended, as the rest of a sentence about it."""
    match end.reason:
        case "exited":
            return f"exited with code {end.exit_code}."
        case "signaled":
            return f"was killed by signal {end.signal}."
        case "stopped":
            return f"was stopped by {end.stopped_by}."
        case "out_of_memory":
            return "was killed: out of memory."
        case "timed_out":
            return "was stopped: its time was up."
        case "failed_to_start":
            return f"could not be started: {end.detail}"
        case "output_failed":
            why = end.detail.removeprefix("its output could not be kept: ")
            return f"was stopped: its output could not be kept ({why})."
        case "output_full":
            return "was stopped: it printed more than is kept of its output."
        case "storage_full":
            return "was stopped: it had more on the disk than its class allows."
        case "lost":
            return f"was lost: {end.detail}."
        case reason:
            return f"ended: {reason}."


def gap_text(gap: pb.Gap) -> str:
    """How much of a job's output is missing, where and why, without a line end."""
    count = gap.to_offset - gap.from_offset
    missing = "1 byte is missing" if count == 1 else f"{count} bytes are missing"
    why = _GAP_REASONS.get(gap.reason, gap.reason)
    return f"{missing} here, from {gap.from_offset} to {gap.to_offset}: {why}"


def stop_text(handle: str, *, already_finished: bool, under_way: bool = False) -> str:
    """The result of a stop."""
    if under_way:
        return f"Job {handle} is being stopped."
    if already_finished:
        return f"Job {handle} had already finished."
    return f"Job {handle} successfully stopped!"


def si(value: float) -> str:
    """Three significant digits and a decimal prefix: 2370 is 2.37k, 32000000 is 32M."""
    prefixes = ("", "k", "M", "G", "T", "P", "E")
    power = 0
    # 999.5 would be rounded to 1e+03.
    while value >= 999.5 and power < len(prefixes) - 1:
        value /= 1000
        power += 1
    if power == 0 or value >= 999.5:
        return f"{value:.0f}{prefixes[power]}"
    return f"{value:.3g}{prefixes[power]}"


def duration(seconds: float) -> str:
    """At most two units, and never an exponent: 0.012s, 12.3s, 20m34s, 5h3m, 3d4h."""
    if seconds < 59.95:
        # Below a millisecond no job's CPU time means anything.
        return f"{seconds:.3g}s" if seconds >= 0.0005 else "0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest}s"
    hours, rest = divmod(round(seconds / 60), 60)
    if hours < 24:
        return f"{hours}h{rest}m"
    days, rest = divmod(round(seconds / 3600), 24)
    return f"{days}d{rest}h"
