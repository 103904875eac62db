"""What an end record must say: what the kernel knows of the end, and who was asked for what."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from penstock.jobs.end_record import BY_POLICY, EndRecord
from penstock.jobs.output.gaps import Gap
from penstock.proto import command_pb2 as pb

from .group import QUIET_SIGNALS, Group
from .world import World

_DISK: Final = frozenset(("full", "eio", "short"))
# A server that ends in the middle of a write leaves a tail that cannot be read.
_ENDS: Final = frozenset(("crash", "leave", "shutdown", "twice", "supervisor"))
# Then what runs is killed at once, as nobody could name it.
_UNASKED: Final = frozenset(("records", "bug"))
# Between the record of an end and the line about it, or instead of it.
_UNSAID: Final = frozenset(("crash", "audit"))
_NEAR_THE_END: Final = (pb.JOB_STATE_ENDING, pb.JOB_STATE_FINISHED)
_OF_OUTPUT: Final = frozenset(("output_failed", "output_full"))


def may_be_a_gap(world: World, reason: str, *, removed: bool) -> bool:
    """Whether anything in the program is a reason for bytes that are not kept."""
    faults = {fault.what for fault in world.program.faults}
    match reason:
        case "disk":
            return bool(faults & _DISK)
        case "quota":
            return bool(world.program.output)
        case "retention":
            # Also on a full disk the oldest makes room.
            return bool(world.program.output or faults & _DISK) or removed
    return bool(faults & (_DISK | _ENDS))


class Asked:
    """What clients have asked for, by job id: sent, and answered that it is so."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._signals_sent: Counter[tuple[str, int]] = Counter()
        self._done: Counter[tuple[str, str | int]] = Counter()
        self._stops_sent: set[str] = set()
        self._stopping: set[str] = set()
        self._recorded: dict[str, str] = {}

    def signal_sent(self, job_id: str, number: int) -> None:
        """A client is about to ask for it."""
        self._signals_sent[job_id, number] += 1

    def stop_sent(self, job_id: str) -> None:
        """A client is about to ask for it."""
        self._stops_sent.add(job_id)

    def stop_told(self, job_id: str, state: pb.JobState) -> None:
        """A client was told that the job is being stopped, and did not wait for it."""
        if state == pb.JOB_STATE_STOPPING:
            self._stopping.add(job_id)
        elif state not in _NEAR_THE_END:
            self._world.fail(f"job {job_id[-4:]}: a stop was answered, and has not begun")

    def recorded(self, job_id: str, notes: Mapping[str, Any]) -> None:
        """It is durable who has asked for a job's end: no server that comes later forgets it."""
        if notes["by"] is not None:
            self._recorded.setdefault(job_id, notes["by"])

    def done(self, job_id: str, what: str | int) -> None:
        """A client was told that a signal was sent, or that the job was paused or resumed."""
        self._done[job_id, what] += 1

    def check(self, group: Group, owner: str, end: EndRecord | None) -> None:
        """At the end. ``end``: its record, if there is one."""
        fail, name = self._world.fail, f"job {group.id[-4:]}"
        faults = {fault.what for fault in self._world.program.faults}
        if group.killed_unheard and not faults & _UNASKED:
            fail(f"{name} stood still, and was killed before it could hear that it is stopped")
        for number, count in group.asked.items():
            if number in QUIET_SIGNALS and count > self._signals_sent[group.id, int(number)]:
                fail(f"{name} got a {number} that nobody has sent it")
        lines = self._world.kernel.lines[group.id, "job.finished"]
        if lines > 1 or (end is not None and not lines and not faults & _UNSAID):
            fail(f"{name}: {lines} lines of the audit log say that it has ended")
        for (job_id, what), count in self._done.items():
            if job_id == group.id and group.asked[what] < count:
                fail(f"{name}: {count} times {what} was answered, and {group.asked[what]} came")
        if end is not None and end.reason != "lost":
            self._check_reason(group, owner, end)

    def _check_reason(self, group: Group, owner: str, end: EndRecord) -> None:
        fail, name, verdict = self._world.fail, f"job {group.id[-4:]}", group.verdict
        assert verdict is not None  # else the server cannot have heard of its end
        codes = (end.exit_code, end.signal)
        if codes != ((verdict.code, None) if verdict.kind == "exited" else (None, verdict.code)):
            fail(f"{name} has {verdict.kind} with {verdict.code}, and its record says {codes}")
        reason: str = verdict.kind
        if end.stopped_by:
            reason = "revoked" if end.stopped_by == BY_POLICY else "stopped"
        if verdict.timed_out:
            reason = "timed_out"
        if verdict.storage_full:
            reason = "storage_full"
        if end.reason != reason and end.reason not in _OF_OUTPUT:
            fail(f"{name}: its end is {end.reason}, and should be {reason}")
        by = {"", "world", "server"} | ({owner} if group.id in self._stops_sent else set())
        if self._world.switches.stops_jobs_of(owner):
            by.add(BY_POLICY)
        if end.stopped_by not in by:
            fail(f"{name} was stopped by {end.stopped_by}, who has not asked for it")
        if group.id in self._stopping and end.stopped_by in ("", "world"):
            fail(f"{name}: a stop was answered, and forgotten; its end is by {end.stopped_by!r}")
        if end.stopped_by != (recorded := self._recorded.get(group.id, end.stopped_by)):
            fail(
                f"{name}: its stop by {recorded} was recorded, and its end is by {end.stopped_by!r}"
            )
        for gap in end.gaps:
            self._check_gap(name, gap)

    def _check_gap(self, name: str, gap: Gap) -> None:
        if not may_be_a_gap(self._world, gap.reason, removed=False):
            self._world.fail(f"{name}: {gap} is not kept, and nothing was a reason for that")
