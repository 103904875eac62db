"""Judges what clients of a real server were told, afterwards, by the simulation's invariants."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from database_copy import opened_copy

from penstock.jobs.end_record import EndRecord
from penstock.proto import command_pb2 as pb

from .invariants import Invariants
from .real import History, Told, written
from .real_input import told_apart


@dataclass
class _Read:
    """A job as its last reader has it; what the invariants take of a simulated group."""

    id: str
    moved: bytearray = field(default_factory=bytearray)
    owners: bytearray = field(default_factory=bytearray)
    outputs: tuple[()] = ()


class _Facts:
    """Stands for the world: it is known how all ended, and who lived at each answer."""

    def __init__(self, ends: dict[str, str], wrong: list[str]) -> None:
        self.ends = ends
        self.wrong = wrong
        self.groups: dict[str, _Read] = {}
        self.kernel = self
        self.pids: tuple[int, ...] = ()

    def fail(self, what: str) -> None:
        self.wrong.append(what)

    def alive(self, job_id: str) -> int:
        return len(self.pids)


def records(database: Path) -> list[tuple[str, str, str | None]]:
    """Id, handle and end of every job that began."""
    with opened_copy(database) as db:
        return db.execute("SELECT id, handle, end FROM jobs WHERE handle IS NOT NULL").fetchall()


def judge(history: History, jobs: Sequence[tuple[str, str, str | None]]) -> list[str]:
    """What is wrong, in words; ``jobs`` are the records after the program."""
    wrong = list(history.wrong)
    facts = _Facts({job_id: text for job_id, _, text in jobs if text}, wrong)
    world: Any = facts
    invariants = Invariants(world)
    feeding = history.feeding.told_to(world)
    for job_id, handle, text in jobs:
        invariants.handle_given(job_id, handle)
        facts.groups[job_id] = _Read(job_id)
        if not text:
            wrong.append(f"job {handle} has no end record")
    for told in history.told:
        if told.what == "read" and told.message.data:
            read = facts.groups[invariants.job_of[told.handle]]
            if told.message.offset != len(read.moved):
                wrong.append(f"job {told.handle}: offset {told.message.offset} is not the next")
            read.moved += told.message.data
            read.owners += bytes([told.message.stream]) * len(told.message.data)
    for told in history.told:
        facts.pids = told.alive
        _told(invariants, told)
    for handle, behaviour in history.behaviours.items():
        read = facts.groups[invariants.job_of[handle]]
        end = EndRecord.from_json(facts.ends.get(read.id) or '{"reason": "lost", "ended_ns": 0}')
        if end.reason == "lost":
            wrong.append(f"job {handle} was lost: {end.detail}")
            continue
        invariants.check_conserved(read, end)  # type: ignore[arg-type]  # as much of a group
        whole = end.reason == "exited" and handle not in history.signaled
        if whole and end.exit_code != behaviour.code:
            wrong.append(f"job {handle}: exit code {end.exit_code}, not {behaviour.code}")
        for stream in (1, 2):
            pairs = zip(read.moved, read.owners, strict=True)
            got = bytes(byte for byte, owner in pairs if owner == stream)
            if stream == 1:
                got, fed = told_apart(handle, got)
                feeding.check(fed, end)  # type: ignore[arg-type]  # as above
            all_of_it = written(behaviour, stream)
            if not all_of_it.startswith(got) or (whole and got != all_of_it):
                wrong.append(f"job {handle}: {len(got)} bytes of stream {stream} are not its own")
    return list(dict.fromkeys(wrong))


def _told(invariants: Invariants, told: Told) -> None:
    message = told.message
    match told.what:
        case "started":
            invariants.started(told.owner, told.request_id, message)
        case "job":
            invariants.job_told(told.owner, message)
        case "stopped":
            invariants.job_told(told.owner, message)
            invariants.stopped(told.handle)
            if not message.HasField("end"):
                invariants.world.fail(f"a stop of job {told.handle} answered without its end")
        case "output" | "read":
            _output(invariants, told.owner, told.handle, message)


def _output(
    invariants: Invariants, owner: str, handle: str, message: pb.StreamOutputResponse
) -> None:
    if message.HasField("job"):
        invariants.job_told(owner, message.job)
    elif message.HasField("finished"):
        invariants.end_told(handle, message.finished)
    elif message.HasField("gap"):
        invariants.world.fail(f"job {handle}: a gap, though nothing bounds its output")
    elif message.data:
        invariants.chunk(handle, message)
