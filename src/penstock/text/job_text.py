"""What people read about a job, the same in the API's text fields and on the terminal (pure)."""

from collections.abc import Callable
from typing import Final

from ..proto import command_pb2 as pb
from .finite import UNKNOWN, finite

# As in policy/limit_classes.py.
CHANGED_OUTSIDE: Final = "changed from outside"
_LABEL_WIDTH: Final = 10
_VALUE_WIDTH: Final = 11
UNMEASURED: Final = "unmeasured"
# Shorter times are not reported, because a program that begins may use up its share of 100 ms once
# or twice.
LONG_STOP_S: Final = 1.0
LONG_THROTTLING_S: Final = 0.5
# More is no figure of a sound server, and would fill a line with its digits.
_MOST_PERCENT: Final = 999_999
_MOST_DAYS: Final = 999_999
_MOST_E: Final = 9_999
_GAP_REASONS: Final = {
    "retention": "the oldest output made room for newer, or the job was removed",
    "quota": "the limit of what is kept was reached",
    "disk": "the server's disk was full or failing",
    "damaged": "the server's disk does not give back what was written",
}


def status_text(job: pb.Job, usage: pb.ResourceUsage) -> str:
    """Several lines: "Job 48213 is running.", the table of what the job uses, and notes without a
    row there; no line end after the last."""
    notes = usage_notes(usage)
    if job.state == pb.JOB_STATE_FINISHED:
        end = job.end
        rows = [
            ("CPU:", _measured(end, "cpu_total_s", duration)),
            ("Memory:", _measured(end, "memory_peak_bytes", _bytes)),
            ("Disk I/O:", _disk_total(end)),
        ]
        notes = end_notes(end)
    else:
        rows = [
            ("CPU:", _measured(usage, "cpu_percent", percent_text)),
            ("Memory:", _measured(usage, "memory_bytes", _bytes)),
            ("Disk I/O:", _measured(usage, "operations_per_s", lambda rate: f"{si(rate)} iops")),
        ]
    return "\n".join([sentence(job), "", table(rows), *notes])


def _measured(
    source: pb.EndRecord | pb.ResourceUsage, field: str, text: Callable[[float], str]
) -> str:
    """A figure, or UNMEASURED if the field is absent, because absent is not 0."""
    return text(getattr(source, field)) if source.HasField(field) else UNMEASURED


def _disk_total(end: pb.EndRecord) -> str:
    if not end.HasField("read_bytes") or not end.HasField("write_bytes"):
        return UNMEASURED
    return _bytes(end.read_bytes + end.write_bytes)


def _bytes(count: float) -> str:
    return f"{si(count)}B"


def limit_notes(job: pb.Job) -> list[str]:
    """A sentence for each limit that another process has written since it was set."""
    whose = [(entry, "Its") for entry in job.enforcement]
    whose += [(entry, "Its client's") for entry in job.client_enforcement]
    return [
        f"{name} {entry.limit} limit is {entry.state}: {entry.detail}."
        for entry, name in whose
        if CHANGED_OUTSIDE in entry.detail
    ]


def table(rows: list[tuple[str, str]]) -> str:
    """Names and values as a table of 25 columns; a wider value widens all of it."""
    width = max(_VALUE_WIDTH, *(len(value) + 1 for _, value in rows))
    rule = "=" * (_LABEL_WIDTH + width + 4)
    lines = [f"|{label:<{_LABEL_WIDTH}}| {value:<{width}}|" for label, value in rows]
    return "\n".join([rule, *lines, rule])


def sentence(job: pb.Job) -> str:
    """One sentence: the job's state, or how it ended."""
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


def state_text(job: pb.Job) -> str:
    """The job's state in a word or two, for a table: "running", "exited 3", "out of memory"."""
    end = job.end
    match job.state:
        case pb.JOB_STATE_FINISHED if end.reason == "exited" and end.HasField("exit_code"):
            return f"exited {end.exit_code}"
        case pb.JOB_STATE_FINISHED if end.reason == "signaled" and end.HasField("signal"):
            return f"signal {end.signal}"
        case pb.JOB_STATE_FINISHED:
            return end.reason.replace("_", " ") or "ended"
        case pb.JOB_STATE_STARTING:
            return "starting"
        case pb.JOB_STATE_STOPPING:
            return "stopping"
        case pb.JOB_STATE_ENDING:
            return "ending"
        case _:
            return "paused" if job.paused else "running"


def end_text(end: pb.EndRecord) -> str:
    """How a job ended, as the rest of a sentence about it."""
    match end.reason:
        case "exited" if end.HasField("exit_code"):
            return f"exited with code {end.exit_code}."
        case "signaled" if end.HasField("signal"):
            return f"was killed by signal {end.signal}."
        case "stopped":
            return f"was stopped by {end.stopped_by}."
        case "revoked":
            return "was stopped: its client has lost its rights on this server."
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


def end_notes(end: pb.EndRecord) -> list[str]:
    """Sentences about what the reason of an end does not show: what the stop took, which other
    processes were killed, what held the job up, what of its output is not kept."""
    notes = stop_notes(end)
    first = end.reason == "out_of_memory"  # then the kill is the reason itself
    notes += _killed_for_memory(end.oom_kills - first, "other " if first else "")
    notes += _held_up(end.throttled_s)
    missing = sum(gap.to_offset - gap.from_offset for gap in end.gaps)
    if missing:
        verb = "is" if missing == 1 else "are"
        notes.append(f"Of its output {_some(missing, 'byte')} {verb} not kept.")
    return notes


def is_plain(end: pb.EndRecord) -> bool:
    """Whether the exit status shows all of an end: the job ended by itself, with no notes."""
    killed = end.oom_kills or end.escalated or end.processes_killed
    return end.reason == "exited" and not killed


def stop_notes(end: pb.EndRecord, took_s: float = 0.0) -> list[str]:
    """Sentences about what it took to end a job beyond its first signal, and why it was stopped;
    ``took_s``: seconds, 0 if not known."""
    notes = []
    left = ""
    if end.processes_killed and not end.escalated:
        verb = "was" if end.processes_killed == 1 else "were"
        left = f"KILL ended {_some(end.processes_killed, 'process')} that {verb} left"
    if end.escalated:
        after = f" after {duration(took_s)}" if took_s else ""
        notes.append(f"KILL was needed{after}: it ended {_some(end.processes_killed, 'process')}.")
    elif took_s >= LONG_STOP_S:
        notes.append(f"That took {duration(took_s)}; {left or 'KILL was not needed'}.")
    elif left and end.reason == "exited":
        # Not of a stopped job, where it is usual because the first signal is for the main process.
        notes.append(f"{left}.")
    if end.stop_reason:
        notes.append(f"The reason given: {end.stop_reason}")
    return notes


def usage_notes(usage: pb.ResourceUsage) -> list[str]:
    """Sentences about what has held up a running job so far."""
    return _killed_for_memory(usage.oom_kills, "") + _held_up(usage.throttled_s)


def _killed_for_memory(count: int, other: str) -> list[str]:
    if count <= 0:
        return []
    whom = (
        f"1 {other}of its processes was" if count == 1 else f"{count} {other}of its processes were"
    )
    return [f"{whom} killed: out of memory."]


def _held_up(seconds: float) -> list[str]:
    """A sentence if the CPU limit has held the job up ("throttled" in the kernel's counters)."""
    if seconds < LONG_THROTTLING_S:
        return []
    return [f"It was throttled for {duration(seconds)} by its CPU limit."]


def _some(count: int, what: str) -> str:
    many = "es" if what.endswith("s") else "s"
    return f"{count} {what}{'' if count == 1 else many}"


def gap_text(gap: pb.Gap) -> str:
    """How much of a job's output is missing, where and why, without a line end."""
    count = gap.to_offset - gap.from_offset
    missing = "1 byte is missing" if count == 1 else f"{count} bytes are missing"
    why = _GAP_REASONS.get(gap.reason, gap.reason)
    return f"{missing} here, from {gap.from_offset} to {gap.to_offset}: {why}"


def stop_text(handle: str, *, already_finished: bool, under_way: bool = False) -> str:
    """One sentence for the user: the result of a stop."""
    if under_way:
        return f"Job {handle} is being stopped."
    if already_finished:
        return f"Job {handle} had already finished."
    return f"Job {handle} successfully stopped!"


def percent_text(percent: float) -> str:
    """Whole percents."""
    found = finite(percent)
    if found is None:
        return UNKNOWN
    found = max(0.0, found)
    return f"{found:.0f}%" if found < _MOST_PERCENT else f">{_MOST_PERCENT}%"


def si(value: float) -> str:
    """Three significant digits and a decimal prefix: 2370 is 2.37k, 32000000 is 32M."""
    prefixes = ("", "k", "M", "G", "T", "P", "E")
    power = 0
    found = finite(value)
    if found is None:
        return UNKNOWN
    value = max(0.0, found)  # because nothing that is counted is less
    # Because 999.5 would otherwise be rounded to 1e+03.
    while value >= 999.5 and power < len(prefixes) - 1:
        value /= 1000
        power += 1
    if value >= 999.5:
        return f"{value:.0f}E" if value < _MOST_E else f">{_MOST_E}E"
    if power == 0:
        return f"{value:.0f}"
    return f"{value:.3g}{prefixes[power]}"


def duration(seconds: float) -> str:
    """At most two units, and never an exponent: 0.012s, 12.3s, 20m34s, 5h3m, 3d."""
    found = finite(seconds)
    if found is None:
        return UNKNOWN
    seconds = found
    if seconds < 59.95:
        # Because below a millisecond no job's CPU time means anything.
        return f"{seconds:.3g}s" if seconds >= 0.0005 else "0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _units(minutes, "m", rest, "s")
    hours, rest = divmod(round(seconds / 60), 60)
    if hours < 24:
        return _units(hours, "h", rest, "m")
    days, rest = divmod(round(seconds / 3600), 24)
    if days > _MOST_DAYS:
        return f">{_MOST_DAYS}d"
    return _units(days, "d", rest, "h")


def _units(count: int, unit: str, rest: int, smaller: str) -> str:
    return f"{count}{unit}{rest}{smaller}" if rest else f"{count}{unit}"
