"""Bytes received + gaps announced = bytes produced: any program, any policy, any fault.

The real log, intake and readers over a disk in memory. A program is a list of steps; Hypothesis
finds a shortest one that breaks the promise, if there is one.
"""

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from fake_disk import STDERR_PIPE, STDOUT_PIPE, FakeDisk, Killed
from hypothesis import example, given, settings
from hypothesis import strategies as st
from patience import slowness

from penstock.jobs.output.cursor import BOTH, Chunk
from penstock.jobs.output.gaps import Gap
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.output_quota import Intake, MustStop, MustWait, OutputBound, OutputBudget
from penstock.jobs.output.reader import OutputReader
from penstock.jobs.output.segment_chain import RESERVE_BYTES, SPLICE_BYTES
from penstock.jobs.output.segment_index import ENTRY_BYTES, StreamNumber
from penstock.policy.output_policy import WHEN_FULL, WhenFull

DIRECTORY = "/state/jobs/one"
PIPES: dict[StreamNumber, int] = {1: STDOUT_PIPE, 2: STDERR_PIPE}


@dataclass
class Follower:
    """A reader, and what it was told: nothing is believed that was not checked."""

    reader: OutputReader
    streams: frozenset[StreamNumber]
    follows: bool
    begin: int
    position: int
    received: int = 0
    gaps: int = 0
    passed_over: int = 0


@dataclass
class World:
    """One log, its job, its readers."""

    bound: OutputBound
    client_bytes: int | None
    disk: FakeDisk = field(default_factory=FakeDisk)
    now: float = 0.0
    stopped: bool = False
    sealed: bool = True
    streams_known: bool = True
    followers: list[Follower] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.budget = OutputBudget(self.client_bytes)
        self.log = OutputLog.create(DIRECTORY, limit_bytes=self.bound.limit_bytes, disk=self.disk)
        self.intake = Intake(self.log, self.bound, self.budget, clock=lambda: self.now)
        self._written = 0

    # The job.

    def write(self, stream: StreamNumber, count: int) -> None:
        pattern = bytes((self._written + at) * 7 % 251 for at in range(count))
        self._written += count
        self.disk.pipes[PIPES[stream]] += pattern

    def take(self, stream: StreamNumber) -> None:
        if self.stopped:
            return
        try:
            self.intake.take(PIPES[stream], stream)
        except (BlockingIOError, MustWait):
            pass
        except MustStop:
            self.stopped = True
        self.check_log()

    def end(self) -> None:
        """The job has ended: pipes are drained, the log is closed, the record is made."""
        self.disk.end()
        for stream, pipe in PIPES.items():
            while True:
                try:
                    if not self.intake.take_last(pipe, stream):
                        break
                except MustWait:  # even leaving it out has failed; the faults end
                    self.now += 2.0
            assert not self.disk.pipes[pipe]
        self.sealed = self.log.seal()
        self.log.finish()
        self.check_log()

    # The readers.

    def join(self, share: float, streams: frozenset[StreamNumber], follow: bool) -> None:
        offset = int(share * self.log.length)
        reader = OutputReader(self.log, offset, follow, streams)
        self.followers.append(Follower(reader, streams, follow, offset, offset))

    def read(self, which: int, pieces: int) -> None:
        if self.followers:
            self.drain(self.followers[which % len(self.followers)], pieces)

    def drain(self, follower: Follower, pieces: int) -> None:
        while pieces and follower.reader.offset < self.log.length:
            before = follower.reader.offset
            piece = follower.reader.take()
            if piece is None and follower.reader.offset == before:
                return  # one that does not follow, at its end
            self.check_piece(follower, piece)
            pieces -= 1

    def cut(self, which: int) -> None:
        """The connection breaks; the client comes back with the offset it has reached."""
        if self.followers:
            old = self.followers[which % len(self.followers)]
            old.reader.close()
            old.reader = OutputReader(self.log, old.reader.offset, True, old.streams)
            old.follows = True

    def check_piece(self, follower: Follower, piece: Chunk | Gap | None) -> None:
        """It is the very next one, and true."""
        produced, owners = self.disk.produced, self.disk.owners
        reached = follower.reader.offset
        if isinstance(piece, Chunk):
            begin, end = piece.offset, piece.end
            assert produced[begin:end] == piece.data
            assert set(owners[begin:end]) == {piece.stream} or not self.streams_known
            follower.received += end - begin
        elif isinstance(piece, Gap):
            begin, end = piece.start, piece.end
            assert begin < end
            follower.gaps += end - begin
        else:
            begin = end = reached
        # What lies between is of streams that it did not ask for.
        between = set(owners[follower.position : begin]) if begin > follower.position else set()
        assert begin >= follower.position
        assert not between & follower.streams
        assert end == reached
        follower.passed_over += begin - follower.position
        follower.position = reached

    # What must hold always, and at the end.

    def check_log(self) -> None:
        assert self.log.length == len(self.disk.produced)
        assert self.budget.used_bytes == self.log.stored_bytes
        files = [size for name, size in self.sizes() if not name.endswith("gaps")]
        # Entries without bytes, and where closed segments end, are not counted.
        slack = 3 * ENTRY_BYTES * (self.log.statistics()["segments"] + 1)
        assert self.log.stored_bytes <= sum(files)
        if not self.unlinks_failed:  # what could not be removed is there, and nobody's any more
            assert sum(files) <= self.log.stored_bytes + slack
        limits = [each for each in (self.bound.limit_bytes, self.client_bytes) if each]
        if limits:
            # The last bytes that fit may come with an entry.
            assert self.log.stored_bytes <= min(limits) + ENTRY_BYTES

    @property
    def unlinks_failed(self) -> bool:
        kept = {int(name.split("/")[-1].split(".")[0]) for name, _ in self.sizes() if "." in name}
        return bool(kept - {segment.start for segment in self.log.segments()})

    def sizes(self) -> list[tuple[str, int]]:
        return [(name, len(data)) for name, data in self.disk.files.items()]

    def check_everything_told(self, log: OutputLog) -> None:
        """A fresh reader, and all that are there, are told of every byte."""
        self.join(0.0, BOTH, True)
        for follower in self.followers:
            self.drain(follower, -1)
            told = follower.received + follower.gaps + follower.passed_over
            assert follower.reader.offset == follower.begin + told
            assert follower.reader.offset == log.length or not follower.follows
            if follower.streams == BOTH:
                assert follower.passed_over == 0
            follower.reader.close()

    def check_digest(self) -> None:
        missing = {at for gap in self.log.gaps() for at in range(gap.start, gap.end)}
        kept = bytes(byte for at, byte in enumerate(self.disk.produced) if at not in missing)
        assert self.log.digest().sha256() == hashlib.sha256(kept).hexdigest()
        assert self.log.first == min(
            (at for at in range(self.log.length) if at not in missing), default=self.log.length
        )


Step = Callable[[World], None]


def step(name: str, *arguments: object) -> Step:
    def run(world: World) -> None:
        getattr(world, name)(*arguments)

    run.__qualname__ = f"{name}{arguments}"
    return run


def fault(code: int, after: int) -> Step:
    def run(world: World) -> None:
        world.disk.faults.extend([0] * after + [code])

    run.__qualname__ = f"fault({errno.errorcode[code]}, after={after})"
    return run


def setting(name: str, value: object) -> Step:
    def run(world: World) -> None:
        setattr(world.disk, name, value)

    run.__qualname__ = f"disk.{name} = {value}"
    return run


def pass_time(seconds: float) -> Step:
    def run(world: World) -> None:
        world.now += seconds

    run.__qualname__ = f"pass_time({seconds})"
    return run


stream_numbers = st.sampled_from(sorted(BOTH))
stream_sets = st.sampled_from([BOTH, frozenset({1}), frozenset({2})])
sizes = st.one_of(st.integers(1, 50), st.sampled_from([4096, 16_384, 20_000, 70_000]))
job_steps = st.one_of(
    st.builds(lambda stream, size: step("write", stream, size), stream_numbers, sizes),
    st.builds(lambda stream: step("take", stream), stream_numbers),
    st.builds(lambda stream: step("take", stream), stream_numbers),
)
reader_steps = st.one_of(
    st.builds(
        lambda share, streams, follow: step("join", share, streams, follow),
        st.sampled_from([0.0, 0.3, 0.99, 1.0]),
        stream_sets,
        st.booleans(),
    ),
    st.builds(
        lambda which, count: step("read", which, count), st.integers(0, 3), st.integers(1, 9)
    ),
    st.builds(lambda which: step("cut", which), st.integers(0, 3)),
)
fault_steps = st.one_of(
    st.builds(fault, st.sampled_from([errno.ENOSPC, errno.EIO]), st.integers(0, 3)),
    st.just(setting("short", True)),
    st.builds(
        lambda free: setting("capacity_bytes", RESERVE_BYTES + free), st.sampled_from([0, 100_000])
    ),
    st.just(setting("capacity_bytes", 1 << 40)),
    st.builds(lambda allocates: setting("allocates", allocates), st.booleans()),
    st.builds(lambda no_names: setting("no_names", no_names), st.booleans()),
    st.builds(pass_time, st.sampled_from([0.5, 2.0])),
)
programs = st.lists(st.one_of(job_steps, job_steps, reader_steps, fault_steps), max_size=40)
worlds = st.builds(
    World,
    st.builds(OutputBound, st.sampled_from([None, 131_072, 200_000]), st.sampled_from(WHEN_FULL)),
    st.sampled_from([None, 150_000]),
)


@settings(max_examples=300, deadline=None)
@given(world=worlds, program=programs)
def test_every_byte_is_received_or_announced(world: World, program: list[Step]) -> None:
    """Whatever job, readers and disk do: in order, once, under every policy."""
    for run in program:
        run(world)
    world.end()
    world.check_everything_told(world.log)
    announced = sum(gap.end - gap.start for gap in world.log.gaps())
    assert world.followers[-1].gaps == announced
    world.check_digest()
    assert world.disk.open_files == 0


@settings(max_examples=300, deadline=None)
@given(world=worlds, program=programs, at=st.integers(0, 60))
# The only segment is dropped on a disk that makes no file, neither the next one nor that of gaps.
@example(
    World(OutputBound(None, "drop_oldest"), 150_000),
    [*[step("write", 1, 70_000)] * 4, setting("no_names", True)],
    8,
)
def test_a_killed_server_loses_no_byte_that_was_kept(
    world: World, program: list[Step], at: int
) -> None:
    """SIGKILL before any change of the disk: the next life tells of all that had left the pipes,
    but for what was being left out in that very moment."""
    check_killed(world, program, at)


@pytest.mark.parametrize("at", range(40))
def test_what_cannot_be_removed_makes_no_damage(at: int) -> None:
    """The oldest part of a log stays, as the disk refuses to remove it, and a newer one goes."""
    faults = [fault(errno.ENOSPC, after) for after in (0, 2, 2)]
    writes = [step("write", 1, 1), step("write", 2, 1), step("take", 1), step("write", 1, 1)]
    check_killed(World(OutputBound(None, "drop_oldest"), None), writes + faults, at)


def check_killed(world: World, program: list[Step], at: int) -> None:
    world.disk.kill_after = at
    try:
        for run in program:
            run(world)
        world.end()
    except Killed:
        pass
    world.disk.kill_after = None
    world.disk.faults.clear()
    world.disk.die()
    world.followers.clear()
    log = world.log = OutputLog.load(DIRECTORY, disk=world.disk)
    check_end_known(world)
    log.close_recovered()
    world.check_everything_told(log)
    # Why bytes are missing is known, unless the disk has refused to record that as well.
    if f"{DIRECTORY}/gaps" not in world.disk.refused:
        assert "damaged" not in {gap.reason for gap in log.gaps()}
    assert world.disk.open_files == 0


def check_end_known(world: World) -> None:
    """A log that a killed server has left goes as far as the disk could be told that it does."""
    disk, log = world.disk, world.log
    assert log.length <= len(disk.produced)
    if log.length < disk.kept_end:
        # Bytes were kept up to there, and dropped, and no file could be made to have that by its
        # name, nor was a byte kept since.
        names = [os.path.basename(path).partition(".")[0] for path in disk.not_made]
        assert any(int(name) >= disk.kept_end for name in names if name.isdecimal())
    discarded = len(disk.produced) - max(log.length, disk.kept_end)
    if discarded > 0:  # and not counted yet; nothing can know of them
        assert world.bound.when_full.startswith("drop") or disk.ended
    if discarded > SPLICE_BYTES:  # nor of those whose gap the disk refused to record
        assert disk.refused.get(f"{DIRECTORY}/gaps", -1) >= log.length


@settings(max_examples=300, deadline=None)
@given(
    world=worlds,
    program=programs,
    ended=st.booleans(),
    damages=st.lists(
        st.tuples(
            st.integers(0, 1000),
            st.sampled_from(["cut", "cut entries", "flip", "grow", "lose"]),
            st.floats(0, 1, exclude_max=True),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_what_was_damaged_is_a_gap_and_never_other_bytes(
    world: World, program: list[Step], ended: bool, damages: list[tuple[int, str, float]]
) -> None:
    """Files cut, flipped, grown or gone at any byte: detected, said, and the rest is served.

    A flip inside the bytes themselves is the SHA-256's to find, so only indexes are flipped.
    """
    for run in program:
        run(world)
    world.end()
    length, gaps = world.log.length, world.log.gaps()
    damaged: set[str] = set()  # cut and then grown, a file has other bytes: that is SHA-256's
    cut: set[str] = set()
    for which, how, share in damages:
        name = damage(world.disk, which, how, share, damaged)
        if name is not None and how.startswith("cut"):
            cut.add(name)
    world.followers.clear()
    if ended:
        log = OutputLog.load(
            DIRECTORY, length=length, gaps=gaps, sealed=world.sealed, disk=world.disk
        )
        assert log.length == length
    else:
        log = OutputLog.load(DIRECTORY, disk=world.disk)
        # What grew cannot be told from output where no end record says how much there was.
        if log.length > length or any(how == "grow" for _, how, _ in damages):
            return
        # Nor can an index that is cut between two entries be told from one that a killed server
        # had not closed: the last run it knows of reaches to the end of the bytes.
        left = [len(world.disk.files[path]) for path in cut if path.endswith(".index")]
        world.streams_known = not any(size and size % ENTRY_BYTES == 0 for size in left)
    world.log = log
    world.check_everything_told(log)


def test_a_torn_entry_is_a_run_that_has_begun() -> None:
    """Of a job that was lost: what lies behind it is a gap, and not output of the stream before."""
    world = World(OutputBound(None, "drop_oldest"), None)
    world.write(1, 1)
    world.take(1)
    world.write(2, 1)
    world.end()
    (index,) = [name for name in world.disk.files if name.endswith(".index")]
    del world.disk.files[index][ENTRY_BYTES + 1 :]
    world.log = OutputLog.load(DIRECTORY, disk=world.disk)
    world.check_everything_told(world.log)
    assert world.followers[-1].gaps == 2


def damage(disk: FakeDisk, which: int, how: str, share: float, damaged: set[str]) -> str | None:
    """The file that it has happened to; None if there was none."""
    names = sorted(name for name, data in disk.files.items() if data and name not in damaged)
    if how in ("flip", "cut entries"):
        names = [name for name in names if name.endswith(".index")]
    if not names:
        return None
    name = names[which % len(names)]
    damaged.add(name)
    data = disk.files[name]
    at = int(share * len(data))
    if how == "cut":
        del data[at:]
    elif how == "cut entries":
        del data[at // ENTRY_BYTES * ENTRY_BYTES :]
    elif how == "flip":
        data[at] ^= 1 << at % 8
    elif how == "grow":
        data += b"x" * 100
    else:
        del disk.files[name]
    return name


@pytest.mark.parametrize("when_full", WHEN_FULL)
def test_each_policy_does_what_it_says(when_full: WhenFull) -> None:
    """A bound of 128 KiB and a job that writes 300 KB."""
    world = World(OutputBound(131_072, when_full), None)
    world.write(1, 300_000)
    for _ in range(100):
        world.take(1)
    left = len(world.disk.pipes[STDOUT_PIPE])
    gaps = world.log.gaps()
    if when_full == "drop_oldest":
        assert [gap.reason for gap in gaps] == ["retention"]
        assert (left, gaps[0].start, world.log.length) == (0, 0, 300_000)
        assert 300_000 - gaps[0].end > 131_072 * 3 // 4
    elif when_full == "drop_newest":
        assert [gap.reason for gap in gaps] == ["quota"]
        assert (left, gaps[0].end, world.log.first) == (0, 300_000, 0)
        assert 131_072 - 5000 < gaps[0].start <= 131_072
    else:
        assert gaps == ()
        assert world.log.length + left == 300_000
        assert world.stopped == (when_full == "stop")
    world.end()
    world.check_everything_told(world.log)
    world.check_digest()


@pytest.mark.parametrize("entries", range(5))
def test_an_index_that_was_cut_gives_no_byte_the_wrong_stream(entries: int) -> None:
    """Of four runs and the entry that closes them, so many entries are left."""
    world = World(OutputBound(None), None)
    for stream in (1, 2, 1, 2):
        world.write(1 if stream == 1 else 2, 100)
        world.take(1 if stream == 1 else 2)
    world.end()
    (index,) = [name for name in world.disk.files if name.endswith(".index")]
    assert len(world.disk.files[index]) == 5 * ENTRY_BYTES
    del world.disk.files[index][entries * ENTRY_BYTES :]
    world.log = OutputLog.load(DIRECTORY, length=400, disk=world.disk)
    world.check_everything_told(world.log)
    # The last run that is left may have ended anywhere.
    assert world.followers[-1].received == max(0, entries - 1) * 100


@settings(max_examples=200, deadline=None)
@given(world=worlds, program=programs)
def test_a_finished_log_reads_the_same_after_a_restart(world: World, program: list[Step]) -> None:
    """Whatever the disk did, also if it refused the last entry: the same bytes, the same gaps."""
    for run in program:
        run(world)
    world.end()
    gaps = world.log.gaps()
    left = world.unlinks_failed
    world.followers.clear()
    world.log = OutputLog.load(
        DIRECTORY, length=world.log.length, gaps=gaps, sealed=world.sealed, disk=world.disk
    )
    world.check_everything_told(world.log)
    if not left:
        assert world.log.gaps() == gaps
        assert world.followers[-1].gaps == sum(gap.end - gap.start for gap in gaps)


def test_an_end_of_file_costs_nothing() -> None:
    """No room is made for bytes that do not come, and no entry, though disk and bound are full."""
    world = World(OutputBound(131_072, "drop_oldest"), 150_000)
    world.write(1, 17_000)
    while world.disk.pipes[STDOUT_PIPE]:
        world.take(1)
    world.disk.capacity_bytes = 0
    world.budget.charge(150_000)
    entries = world.log.statistics()["entries"]
    world.disk.end()
    for stream, pipe in PIPES.items():
        assert world.intake.take(pipe, stream) == 0
    assert (world.log.gaps(), world.log.length) == ((), 17_000)
    assert world.log.statistics()["entries"] == entries
    world.log.finish()


def test_a_disk_that_refuses_even_to_forget_ends_nothing() -> None:
    """EROFS at unlink, EMFILE at /dev/null: the job waits for a moment, no exception passes."""
    world = World(OutputBound(131_072, "drop_oldest"), None)
    world.write(1, 131_000)
    while world.disk.pipes[STDOUT_PIPE]:
        world.take(1)
    world.write(1, 30_000)
    world.disk.faults.extend([errno.EROFS] * 6)
    for _ in range(10):
        world.take(1)
        world.now += 2.0
    assert world.log.length == 161_000
    world.end()
    world.check_everything_told(world.log)


def test_a_small_shared_bound_is_used_again_after_a_refusal() -> None:
    """What must be free first is less than there can ever be; segments fit it, too."""
    budget = OutputBudget(524_288)
    assert budget.least_limit(2**30) == 524_288
    world = World(OutputBound(2**30, "drop_newest"), 524_288)
    world.write(1, 600_000)
    while world.disk.pipes[STDOUT_PIPE]:
        world.take(1)
    assert [gap.reason for gap in world.log.gaps()] == ["quota"]
    while world.log.drop_oldest():
        pass
    world.write(1, 1000)
    world.take(1)
    assert world.log.gaps()[-1].end == 600_000
    world.end()


def test_gaps_are_told_in_time_that_grows_with_their_number() -> None:
    """Eight thousand of them, each found at once."""
    log = OutputLog("/nowhere", FakeDisk())
    log.length = 16_000
    log._front = "damaged"
    log._refused.gaps = [Gap(2 * number, 2 * number + 1, "disk") for number in range(8_000)]
    begin = time.process_time()
    assert len(log.gaps()) == 16_000
    # It took 1.8 s when each was looked for from the first.
    assert time.process_time() - begin < slowness()


def gone_on_with(world: World) -> OutputLog:
    """The log as the next server has it, after a kill now."""
    world.disk.die()
    return OutputLog.resume(DIRECTORY, limit_bytes=world.bound.limit_bytes, disk=world.disk)


@pytest.mark.parametrize("at", range(12))
def test_where_a_log_has_come_to_is_known_though_a_gap_is_not(at: int) -> None:
    """All was dropped, and the disk refuses a gap's record: an offset that readers have had is not
    given again, also while the segment that has it by its name makes way for the next one."""
    world = World(OutputBound(None, "drop_oldest"), None)
    world.write(1, 1000)
    world.take(1)
    assert world.log.drop_oldest()
    world.write(1, 500)
    world.disk.faults.extend([errno.EIO, 0, errno.EIO])
    assert world.log.discard(STDOUT_PIPE, "disk") == 500
    world.disk.kill_after = at
    world.write(1, 10)
    with contextlib.suppress(Killed):
        world.take(1)
    world.disk.kill_after = None
    assert gone_on_with(world).length in (1000, 1500, 1510)


@pytest.mark.parametrize("again", range(6))
def test_where_a_log_has_come_to_is_known_after_many_kills(again: int) -> None:
    """All was dropped, and each server is killed before the job writes another byte: not even while
    it takes the log over is the offset forgotten that readers have had."""
    world = World(OutputBound(None, "drop_oldest"), None)
    world.write(1, 1000)
    world.take(1)
    assert world.log.drop_oldest()
    for at in [again, None, None]:
        world.disk.kill_after = at
        with contextlib.suppress(Killed):
            world.log = gone_on_with(world)
        world.disk.kill_after = None
    assert (world.log.length, world.log.first) == (1000, 1000)
    world.write(1, 7)
    assert world.log.move(STDOUT_PIPE, 1) == 7
    assert world.log.seal()
    world.log.finish()
    world.log = OutputLog.load(DIRECTORY, disk=world.disk)
    world.check_everything_told(world.log)
    assert (world.followers[-1].gaps, world.followers[-1].received) == (1000, 7)


def test_a_segment_before_a_gap_is_whole_after_two_takeovers() -> None:
    """The first server was killed while it left bytes out: the segment is closed all the same."""
    world = World(OutputBound(None, "drop_newest"), None)
    world.write(1, 1500)
    world.log.move(STDOUT_PIPE, 1, 1000)
    world.log.discard(STDOUT_PIPE, "quota", 500)
    log = gone_on_with(world)
    assert log.seal()
    gaps = log.gaps()
    log.finish()
    world.log = OutputLog.load(DIRECTORY, length=log.length, gaps=gaps, disk=world.disk)
    world.check_everything_told(world.log)
    assert (world.followers[-1].received, world.followers[-1].gaps) == (1000, 500)


def test_a_log_that_has_dropped_its_only_segment_is_sealed() -> None:
    """The disk took no other one; there is nothing left that could be cut."""
    world = World(OutputBound(None, "drop_oldest"), None)
    world.write(1, 1500)
    world.take(1)
    world.disk.faults.append(errno.ENOSPC)
    assert world.log.drop_oldest()
    assert (world.log.first, world.log.stored_bytes) == (1500, 0)
    assert world.log.seal()
    world.log.finish()
    assert world.disk.open_files == 0


@pytest.mark.parametrize("at", range(40))
def test_a_log_can_be_gone_on_with_after_a_kill_at_any_step(at: int) -> None:
    """Also between the two files of a segment, as it is made or removed: no false gap, no halt."""
    world = World(OutputBound(131_072, "drop_oldest"), None)
    world.disk.kill_after = at
    try:
        for _ in range(30):
            world.write(1, 9000)
            world.take(1)
    except Killed:
        pass
    world.disk.kill_after = None
    produced = len(world.disk.produced)
    world.log = gone_on_with(world)
    assert produced - SPLICE_BYTES <= world.log.length <= produced
    del world.disk.produced[world.log.length :], world.disk.owners[world.log.length :]
    world.intake = Intake(world.log, OutputBound(131_072, "wait"), OutputBudget(), lambda: 0.0)
    world.disk.pipes[STDOUT_PIPE].clear()
    while world.log.drop_oldest():
        pass
    world.write(1, 500)
    assert world.intake.take(STDOUT_PIPE, 1) == 500
    assert "disk" not in {gap.reason for gap in world.log.gaps()}
    world.log.finish()
