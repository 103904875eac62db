"""What a start became is said once: a new field of a job touches the files that the guide lists.

Each way that a field takes (into the record, the message, the database and the API) is walked by
the record's own fields, so one that is forgotten somewhere fails here, by its name.
"""

import json
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import pytest
from fake_disk import FakeDisk

from penstock.jobs.backends.base import JobSpec
from penstock.jobs.job import Job
from penstock.jobs.job_rows import JobRecord, read_row, spec_text, started_text
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.output_quota import OutputBound
from penstock.policy.control_policy import Control
from penstock.policy.limit_classes import (
    LIMIT_NAMES,
    Enforcement,
    LimitClass,
    ResourceLimits,
)
from penstock.policy.policy_file import Command
from penstock.server.convert import job_message
from penstock.supervisor.ipc import protocol
from penstock.supervisor.ipc.from_supervisor import FROM_SUPERVISOR, Held, StartedMessage
from penstock.supervisor.ipc.message_forms import count
from penstock.supervisor.ipc.message_record import Wire, form_of, read_record, write_record
from penstock.supervisor.ipc.started import NOT_STARTED, HeldLimits, Started
from penstock.supervisor.job.effective_start import EffectiveStart, MainProcess
from penstock.supervisor.users.user_names import User

ROOT = Path(__file__).resolve().parents[2]
JOB = "a" * 32
FULL = Started(
    pid=7,
    start_ticks=8,
    started_ns=9,
    argv=("/bin/show", "a b"),
    class_name="small",
    limits=ResourceLimits(cpu_cores=0.5, files=3),
    held=HeldLimits(
        (Enforcement("cpu", "enforced", "0.5"),), (Enforcement("memory", "partial", "1", "why"),)
    ),
    client_limits=ResourceLimits(memory_bytes=10),
    timeout_s=2.5,
    uid=1000,
    grace_s=1.5,
    control=Control(stop_signal=2, stop_tree=True, signals=frozenset({1, 15}), stdin=True),
    usage_files={"cpu.stat": "/sys/fs/cgroup/x/cpu.stat"},
)
# Of the process alone, which no client is shown.
NOT_SHOWN = {"start_ticks", "uid", "grace_s", "control", "usage_files"}
# These count only while the process runs: the supervisor tells them again.
NOT_IN_A_ROW = {"uid", "grace_s", "control", "usage_files"}
NAMES = [each.name for each in fields(Started)]


def test_the_full_one_has_a_value_in_each_field() -> None:
    """Or the others would show nothing."""
    assert [name for name in NAMES if getattr(FULL, name) == getattr(NOT_STARTED, name)] == []


def test_the_supervisor_fills_in_every_field() -> None:
    """By what the start is in effect, and by what the kernel holds."""
    needs = dict.fromkeys(LIMIT_NAMES, "best_effort")
    small = LimitClass("small", FULL.limits, needs)  # type: ignore[arg-type]
    totals = LimitClass("alice", FULL.client_limits, needs)  # type: ignore[arg-type]
    command = Command("show", "/bin/show", "small", grace_s=1.5, control=FULL.control)
    user = User(1000, 1000, ())
    effective = EffectiveStart(command, FULL.argv, FULL.timeout_s, small, totals, user=user)

    class Processes:
        entries = FULL.held.enforcement
        client_entries = FULL.held.client_enforcement
        usage_files = FULL.usage_files

    processes: Any = Processes()
    started = effective.started(MainProcess(7, 8, 9), processes)
    assert replace(started, held=FULL.held) == FULL
    assert started.held.enforcement[:1] == FULL.held.enforcement
    assert started.held.client_enforcement == FULL.held.client_enforcement


@pytest.mark.parametrize(
    "message",
    [StartedMessage(JOB, FULL, ("stdout",)), Held(JOB, FULL, "alice", True, ("stdout", "kill"))],
)
def test_a_message_has_every_field(message: StartedMessage | Held) -> None:
    """As it was, at the other end; and each is missed if it is not there, unless it is optional:
    then an earlier version has sent the message, and the default counts."""
    data = protocol.encode(message)
    assert protocol.decode(data, FROM_SUPERVISOR) == message
    told = json.loads(data)
    optional = form_of(type(message)).optional.keys()
    for name in set(told) - {"type"}:
        less = json.dumps({key: value for key, value in told.items() if key != name}).encode()
        if name in optional:
            earlier = protocol.decode(less, FROM_SUPERVISOR)
            assert json.loads(protocol.encode(earlier)).keys() == told.keys()
            continue
        with pytest.raises(protocol.ProtocolError, match=f"{name} is missing"):
            protocol.decode(less, FROM_SUPERVISOR)


# What the first version has sent; a later version's server still needs it of each supervisor.
ALWAYS_SENT = {
    *("pid", "start_ticks", "started_ns", "argv", "class", "limits", "client_limits"),
    *("enforcement", "client_enforcement", "timeout_s", "uid", "grace_s", "control", "usage"),
}


def test_what_came_later_is_optional() -> None:
    """A supervisor stays while SIGUSR2 starts a new server: it sends what it knows."""
    assert form_of(Started).needed.keys() == ALWAYS_SENT


def row_of(started: Started) -> JobRecord:
    texts = spec_text(JobSpec("show")), "policy", "running", "7", started_text(started, "boot")
    return read_row((JOB, 1, "alice", *texts, None, None))


def test_a_row_has_every_field_that_outlives_the_process() -> None:
    found = row_of(FULL).started
    assert found is not None
    lost = {name for name in NAMES if getattr(found, name) != getattr(FULL, name)}
    assert lost == NOT_IN_A_ROW
    assert all(getattr(found, name) == getattr(NOT_STARTED, name) for name in lost)


@pytest.mark.parametrize("name", NAMES)
def test_a_client_is_shown_every_field_that_is_for_it(name: str) -> None:
    """A job that differs in one field is another message, unless the field is not shown."""

    def shown(started: Started) -> bytes:
        log = OutputLog.create("/state/jobs/one", disk=FakeDisk())
        job = Job(JOB, 1, "alice", JobSpec("show"), "policy", log, OutputBound(None, "wait"))
        job.has_started(started)
        message = job_message(job).SerializeToString(deterministic=True)
        log.finish()
        return bytes(message)

    other = replace(FULL, **{name: getattr(NOT_STARTED, name)})
    assert (shown(FULL) == shown(other)) == (name in NOT_SHOWN)


@dataclass(frozen=True, slots=True)
class Later(Started):
    """As a later version may have it."""

    niceness: Annotated[int, Wire(count, name="nice", optional=True)] = 0


def test_a_field_more_is_written_checked_and_read_where_it_is_declared() -> None:
    """No other file knows the names of a start's fields on the wire or in a row."""
    later = Later(**{name: getattr(FULL, name) for name in NAMES}, niceness=5)
    told = write_record(later)
    assert form_of(Later).mistake(told) is None
    assert form_of(Later).mistake(told | {"nice": -1}) == "nice has not its form"
    assert read_record(Later, told) == later
    # A supervisor of today does not send it to that version's server.
    assert form_of(Later).mistake(write_record(FULL)) is None
    assert read_record(Later, write_record(FULL)).niceness == 0
    row = json.loads(started_text(later, "boot"))
    assert row["nice"] == 5
    # A row of today is read by that version, and one of that version by this one.
    assert read_record(Later, write_record(FULL), complete=False).niceness == 0
    assert row_of(later).started == row_of(FULL).started


def test_the_guide_lists_the_files_that_it_touches() -> None:
    """At most five of the source; those that the tests above walk are among them."""
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    section = guide.partition("## A new field of a job\n")[2].partition("\n## ")[0]
    named = re.findall(r"`(src/[\w/]+\.py)`", section)
    assert 3 <= len(set(named)) == len(named) <= 5
    for path in named:
        assert (ROOT / path).is_file(), path
    assert {"started", "effective_start", "convert"} <= {Path(path).stem for path in named}


def test_no_other_file_spells_a_start_out() -> None:
    """Who names three of the fields that only a start has copies them; the record does it once."""
    allowed = {
        "supervisor/ipc/started.py",
        "supervisor/job/effective_start.py",
        "server/convert.py",
    }
    own = re.compile(r"\b(start_ticks|started_ns|client_enforcement|client_limits|usage_files)\b")
    source = ROOT / "src" / "penstock"
    found = set()
    for file in source.rglob("*.py"):
        if "proto" not in file.parts and len(set(own.findall(file.read_text()))) > 2:
            found.add(str(file.relative_to(source)))
    assert found == allowed
