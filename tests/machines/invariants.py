"""What must hold at each answer and at the end; each breach is a line of ``World.wrong``."""

import hashlib
from collections import Counter
from typing import Final

import trio

from penstock.jobs.end_record import EndRecord
from penstock.proto import command_pb2 as pb
from penstock.server.convert import end_message

from .endings import Asked
from .feeding import Feeding
from .graces import Graces
from .group import Group
from .naming import Naming
from .schedule import system_tasks_alive, tasks_alive
from .watching import Changes
from .world import World

# For a connection that fell silent to be given up (40 s), and another one to tell of the end.
LONG_S: Final = 60.0


# Tasks of a server that serves nobody, and of what is around it.
_ALWAYS: Final = frozenset(
    (
        "penstock.jobs.history.History.run",
        "penstock.jobs.file_removals.FileRemovals.run",
        "penstock.server.admission.Admission.end_expired",
        "penstock.server.switching.Switching.run",
    )
)
# Where a disk fails nothing can be given back, and a server that is killed between the record of an
# end and that leaves it to the log's removal.
_KEEPS_RESERVES: Final = frozenset(
    ("full", "eio", "short", "crash", "away", "leave", "shutdown", "twice", "supervisor")
)
# A connection that fell silent is given up later than anybody waits here.
_OURS: Final = ("machines.", "server ", "job process ", "penstock.rpc.")


class Invariants:
    """Remembers what was told to anybody, over all lives of the server."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.job_of: dict[str, str] = {}
        """Handle to job id, as the records have it."""
        self.handles: dict[str, list[str]] = {}
        """By owner, what clients have been told."""
        self.removed: set[str] = set()
        """Whose removal was asked for."""
        self.stops: Counter[str] = Counter()
        """Under way, by handle."""
        self.stopped_before: set[str] = set()
        """Handles of which a stop has answered."""
        self.feeding = Feeding(world)
        self.asked = Asked(world)
        self.graces = Graces(world)
        self.naming = Naming(world, self.job_of, self.removed)
        self.changes = Changes(world)
        self._told_ends: dict[str, bytes] = {}
        self._jobs: dict[str, tuple[str, int]] = {}
        self._ended_at: dict[str, float] = {}
        self._request_of: dict[str, tuple[str, str]] = {}
        self._begun: dict[tuple[str, str], dict[str, str]] = {}
        self._requests: dict[tuple[str, str], str] = {}

    # The records'.

    def requested(self, job_id: str, owner: str, request_id: str) -> None:
        """A job's record was made, for this start."""
        self._request_of[job_id] = (owner, request_id)

    def handle_given(self, job_id: str, handle: str) -> None:
        request = self._request_of.get(job_id)
        if request is not None:  # whether or not anybody hears the answer
            others = self._begun.setdefault(request, {})
            others[job_id] = handle
            if len([each for each in others.values() if each not in self.removed]) > 1:
                self.world.fail(f"the jobs {list(others.values())} have begun by one {request}")
        if self.job_of.setdefault(handle, job_id) != job_id:
            self.world.fail(f"handle {handle} is given a second time")

    def end_written(self, job_id: str, text: str) -> None:
        if job_id in self.world.ends:
            self.world.fail(f"job {job_id[-4:]} has a second end record")
        alive = self.world.kernel.alive(job_id)
        if alive:
            self.world.fail(f"job {job_id[-4:]} has an end record, and {alive} processes live")
        self.world.ends[job_id] = text
        self.naming.over(job_id)
        self._ended_at[job_id] = trio.current_time()
        if EndRecord.from_json(text).reason == "timed_out":
            self.world.covered.add("C17")

    # The answers'.

    def ended(self) -> frozenset[str]:
        """Handles of jobs whose end somebody was told: whoever asks now is told, too."""
        return frozenset(self._told_ends)

    def job_told(self, owner: str, job: pb.Job, ended: frozenset[str] = frozenset()) -> None:
        """Any message with a job in it. ``ended`` as it was when it was asked for."""
        if job.owner != owner:
            self.world.fail(f"{owner} was told of job {job.handle} of {job.owner}")
        about = (job.owner, job.started_ns)
        if self._jobs.setdefault(job.handle, about) != about:
            self.world.fail(f"job {job.handle} was {self._jobs[job.handle]}, and is {about}")
        self.naming.told(job)
        if job.HasField("end"):
            self.end_told(job.handle, job.end)
        elif job.handle in ended:
            self.world.fail(f"job {job.handle} had ended, and has no end record now")

    def end_told(self, handle: str, end: pb.EndRecord) -> None:
        """The same for everybody, at any time."""
        told = end.SerializeToString(deterministic=True)
        if self._told_ends.setdefault(handle, told) != told:
            self.world.fail(f"job {handle} has another end record than before")
        text = self.world.ends.get(self.job_of.get(handle, ""))
        if text is None or end_message(EndRecord.from_json(text)) != end:
            self.world.fail(f"job {handle} was told of an end that is in no record")

    def started(self, owner: str, request_id: str, job: pb.Job) -> None:
        """C4, and one job a request id."""
        self.job_told(owner, job)
        known = self.handles.setdefault(owner, [])
        if job.handle not in known:
            known.append(job.handle)
        if request_id:
            first = self._requests.setdefault((owner, request_id), job.handle)
            if first != job.handle:
                if first not in self.removed:
                    self.world.fail(f"request {request_id} has made {first} and {job.handle}")
                self._requests[owner, request_id] = job.handle

    def hangs(self, name: str, what: str, handle: str) -> None:
        """Nothing has answered for as long as anybody waits: only a job may be the reason."""
        job_id, now = self.job_of.get(handle, ""), trio.current_time()
        job_may = what in ("wait", "stream", "watch") or (
            what == "input" and not self._is_hungry(job_id)
        )
        if not job_may or now - self._ended_at.get(job_id, now) >= LONG_S:
            self.world.fail(f"{name}: {what} {handle} hangs")

    def _is_hungry(self, job_id: str) -> bool:
        """It has waited for input all the time that a sender may wait for it."""
        group = self.world.kernel.groups.get(job_id)
        if group is None or group.hungry_since is None:
            return False
        return min(trio.current_time(), group.main_ended_at) - group.hungry_since >= LONG_S

    def stopped(self, handle: str) -> None:
        """C5: a stop has answered."""
        alive = self.world.kernel.alive(self.job_of[handle])
        if alive:
            self.world.fail(f"job {handle} is stopped, and {alive} processes of it live")

    def chunk(self, handle: str, message: pb.StreamOutputResponse) -> None:
        """True bytes of the right stream."""
        group = self.world.kernel.groups[self.job_of[handle]]
        begin, end = message.offset, message.next_offset
        if bytes(group.moved[begin:end]) != message.data:
            self.world.fail(f"job {handle}: bytes {begin} to {end} are not what it wrote")
        if set(group.owners[begin:end]) - {message.stream}:
            self.world.fail(f"job {handle}: bytes {begin} to {end} are of another stream")

    # At the end.

    def check_records(self) -> None:
        """Every job has ended, once, with all that it wrote kept or announced."""
        world = self.world
        for job_id, group in world.kernel.groups.items():
            text = world.ends.get(job_id)
            known = None if text is None else EndRecord.from_json(text)
            self.feeding.check(group, known)
            self.asked.check(group, group.owner, known)
            self.graces.check(group)
            self._check_storage(group, known)
            if world.kernel.alive(job_id):
                world.fail(f"job {job_id[-4:]} has processes at the end")
            if text is None:
                if job_id in self.job_of.values():
                    world.fail(f"job {job_id[-4:]} has no end record")
                continue
            end = EndRecord.from_json(text)
            if end.reason != "lost":
                self.check_conserved(group, end)
            elif "supervisor" not in str(world.program.faults):
                world.fail(f"job {job_id[-4:]} was lost: {end.detail}")
        world.reads.check(world)
        self.changes.check(world.database)
        world.wrong.extend(world.kernel.broken)

    def _check_storage(self, group: Group, end: EndRecord | None) -> None:
        """C17b: a job ends by that at once, and only if it had more than it may."""
        full = end is not None and end.reason == "storage_full"
        name = f"job {group.id[-4:]}"
        if full and group.filled_at is None:
            self.world.fail(f"{name} is said to have filled the disk, and has not")
        if group.filled_at is not None and group.killed_at > group.filled_at:
            self.world.fail(f"{name} had more on the disk than it may, and was not killed at once")

    def check_conserved(self, group: Group, end: EndRecord) -> None:
        fail, name = self.world.fail, f"job {group.id[-4:]}"
        if end.output_bytes != len(group.moved):
            fail(f"{name}: {len(group.moved)} bytes left its pipes, and {end.output_bytes} count")
        left = sum(len(pipe) for pipe in group.outputs)
        stuck = end.reason == "output_failed"
        if left and not stuck:
            fail(f"{name}: {left} bytes are in its pipes at its end")
        gone = bytearray()
        at = 0
        for gap in end.gaps:
            if not at <= gap.start < gap.end <= end.output_bytes:
                fail(f"{name}: {gap} is no gap behind byte {at} of {end.output_bytes}")
            gone += group.moved[at : gap.start]
            at = gap.end
        gone += group.moved[at : end.output_bytes]
        if end.output_sha256 and hashlib.sha256(gone).hexdigest() != end.output_sha256:
            fail(f"{name}: its SHA-256 is not that of what it wrote")

    def check_left(self) -> None:
        """While a server still runs that nobody uses: no call, reader or cursor is left."""
        world = self.world
        assert world.server is not None
        assert world.manager is not None
        running = world.server.statistics().running_calls
        if running:
            world.fail(f"{running} calls run though nobody waits for them")
        for job in world.manager.list(include_finished=True):
            log = job.log_if_loaded
            if log is not None and log.statistics()["readers"]:
                world.fail(f"job {job.handle} has readers that nobody has")
        names = tasks_alive()
        left = [each for each in names if each not in _ALWAYS and not each.startswith(_OURS)]
        # The tasks of a life that was killed may still be on their way out.
        if left and sum(each.startswith("server ") for each in names) == 1:
            world.fail(f"these tasks are left though no job runs: {left}")
        self._check_reserves()
        self.check_no_system_task()
        pipes = sum(fd > 2000 for fd in world.disk.pipes)
        if pipes and not world.manager.list():
            world.fail(f"{pipes} ends of pipes are open though no job runs")
        if world.disk.open_files > 1 + 3 * len(world.manager.list()):
            world.fail(f"{world.disk.open_files} files are open for no job that runs")

    def _check_reserves(self) -> None:
        """What files of jobs that have ended had ahead is the disk's again."""
        world = self.world
        assert world.manager is not None
        ended = {job.id for job in world.manager.list(include_finished=True) if job.end is not None}
        left = [path for path in world.disk.ahead if ended & set(path.split("/"))]
        if left and not any(fault.what in _KEEPS_RESERVES for fault in world.program.faults):
            world.fail(f"these files of jobs that have ended have blocks ahead still: {left}")

    def check_no_system_task(self) -> None:
        """What is spawned beside all nurseries, nobody owns; it would outlive its server."""
        if system := system_tasks_alive():
            self.world.fail(f"these system tasks are left: {system}")
