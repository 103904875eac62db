"""A job's output on disk: the one truth that every reader reads.

Theory of operation. A log is a line of bytes, numbered from 0 in the order in which the job's pipes
gave them, of which some are there and the others are gaps. ``length`` counts all that the job has
produced. What is there is in segments (segment_chain.py); what is between them is gone, and why
stands in the log's gap file (gaps.py) if it was given up on purpose. An offset that a reader has
had never means another byte, in this life or any later one: docs/output.md has the format byte for
byte, and what a torn tail means.

A log is *open* (``create``, ``resume``): ``move`` and ``discard`` append, ``drop_oldest`` gives up
the other end. Or it has *ended* (``load``; ``finish``, ``remove``): nothing is appended, and a
reader that has come to ``length`` is through. Or it is *stuck* (``load_stuck``): the job runs on,
but where its log ends cannot be known, so nothing must be appended. ``seal`` comes between the last
byte and the end record: then a file that is cut later is seen to be cut.

Who may call what: everything that appends or ends is called by the task of the job alone, its
reader tasks and what it does after them (capture.py, lifecycle.py, through output_quota.Intake).
Reading is for anybody in Trio's thread, at any time: no call here has a checkpoint, so a reader
that looks between two of them sees whole segments and gaps. ``digest`` and ``give_back`` are the
only ones for a thread, and after the end.

The race that shaped it: a server is killed between two writes, and the next one takes the log over
while readers of the first come back with their offsets. So all that must be durable is so *before*
the act that needs it: a gap before its first byte is taken from the pipe (``discard``, unless the
disk refuses even its record: GapFile.begin), a segment's
end before the next one is begun, and the next one's name before the only one is dropped. What a
kill can still tear is the tail, and ``resume`` begins behind it.

``notify`` wakes the readers (broadcaster.py). The writer calls it, not ``move``, because it knows
what belongs together.
"""

import bisect
from collections.abc import Iterable

from ..job_errors import OffsetPastEnd
from . import recovery
from .broadcaster import Broadcaster
from .digest import Digest
from .disk import Disk, RealDisk
from .gaps import Gap, GapFile, GapReason
from .segment import Segment, StreamNumber
from .segment_chain import SPLICE_BYTES, SegmentChain


class OutputLog:
    """An append-only log of one job. Appending and reading never wait but for the disk."""

    def __init__(self, directory: str, disk: Disk | None = None) -> None:
        """The place of a log; see ``create`` and ``load``."""
        self.directory = directory
        self.disk: Disk = RealDisk() if disk is None else disk
        self.length = 0
        self.ended = True
        self.broadcaster = Broadcaster()
        self._chain = SegmentChain(self.disk, directory)
        self._refused = GapFile(self.disk, directory)
        self._refusing = False
        self._front: GapReason = "retention"

    @classmethod
    def create(
        cls, directory: str, *, limit_bytes: int | None = None, disk: Disk | None = None
    ) -> "OutputLog":
        """A new, empty log that is open for appending. Raises OSError.

        ``limit_bytes`` decides the size of segments; who keeps the limit is output_quota.py.
        """
        log = cls(directory, disk)
        log._chain.set_limit(limit_bytes)
        log.disk.make_directory(directory)
        log._chain.begin(0)
        log.ended = False
        return log

    @classmethod
    def load(
        cls,
        directory: str,
        *,
        length: int | None = None,
        gaps: Iterable[Gap] = (),
        sealed: bool = True,
        disk: Disk | None = None,
    ) -> "OutputLog":
        """The log of a job that has ended. What cannot be read of it is a gap.

        With ``length``, ``gaps`` and ``sealed`` from its end record, all else that is missing
        is ``damaged``. Without, the job was lost: the log ends where its files do. Raises
        OSError if this process lacks what it needs to look.
        """
        log = cls(directory, disk)
        log._refused.gaps = list(gaps)
        if length is None:
            try:
                log._refused.load()
            except OSError:
                log._refused.gaps = []
        else:
            log._front = "damaged"
        end = log._chain.load(closed=length is not None and sealed)
        ends = [end, *(gap.end for gap in log._refused.gaps)]
        log.length = max(ends) if length is None else length
        log._chain.cut(log.length)
        return log

    @classmethod
    def resume(
        cls, directory: str, *, limit_bytes: int | None = None, disk: Disk | None = None
    ) -> "OutputLog":
        """The log of a job that runs on: open for appending where its files end.

        What the disk does not give back is a gap, and a disk that takes nothing shows at the
        next move. Raises OSError if not even that can be known: where the log ends.
        """
        log = cls.load(directory, disk=disk)
        log._chain.set_limit(limit_bytes)
        log.length = max(log.length, recovery.end_of_files(log.disk, directory))
        recovery.clear(log.disk, directory, log.length)
        log._chain.reopen_last()
        log.ended = False
        return log

    @classmethod
    def load_stuck(cls, directory: str, *, disk: Disk | None = None) -> "OutputLog":
        """What can be read of the log of a job that runs on, when ``resume`` has failed.

        Nothing must be appended: where, is not known.
        """
        try:
            log = cls.load(directory, disk=disk)
        except OSError:
            log = cls(directory, disk)
        log._chain.never_close()
        log.ended = False
        return log

    def close_recovered(self) -> bool:
        """Ends the last segment of a log that a crash has left open, as seal does."""
        return self._chain.close_recovered()

    # Appending.

    def move(
        self,
        pipe_fd: int,
        stream: StreamNumber,
        most: int = SPLICE_BYTES,
        *,
        spare_bytes: int = 0,
    ) -> int:
        """Moves what the pipe has, at most ``most`` bytes, to the log's end; 0 at end of file.

        The bytes never pass through this process. Raises BlockingIOError if the pipe is
        empty now, OSError if the disk does not take them or has less than RESERVE_BYTES
        and ``spare_bytes`` left (they stay in the pipe), and the log has used up its own reserve.
        """
        moved = self._chain.append(self.length, pipe_fd, stream, most, spare_bytes)
        if moved:
            self.length += moved
            self._refusing = False
        return moved

    def discard(self, pipe_fd: int, reason: GapReason, most: int = SPLICE_BYTES) -> int:
        """Takes bytes from the pipe and counts them as a gap; 0 at end of file.

        Raises BlockingIOError if the pipe is empty now.
        """
        gaps = self._refused.gaps
        if not (self._refusing and gaps and gaps[-1].reason == reason):
            # Durable before the first byte is gone. Without any it is no gap, and not told.
            self._refused.begin(self.length, reason)
            self._refusing = True
        count = self.disk.discard(pipe_fd, most)
        if count:
            self._refused.grow(count)
            self.length += count
        return count

    def drop_oldest(self) -> bool:
        """Gives up the oldest segment, the one that is written to last. Whether there was one."""
        return self._chain.drop_oldest(self.length)

    def seal(self) -> bool:
        """No more bytes will come: says in the index where it ends, so that a cut is seen.

        False: the disk does not take it, and the end record must say so. No checkpoint.
        """
        return self._chain.seal()

    @property
    def stored_bytes(self) -> int:
        """What it takes of the disk, indexes included."""
        return self._chain.stored_bytes

    @property
    def has_reserve(self) -> bool:
        """It takes more of the disk than it stores: see give_back."""
        return self._chain.has_reserve

    def give_back(self) -> None:
        """Its reserve is the disk's again. In a thread, once it has ended."""
        self._chain.give_back()

    def finish(self) -> None:
        """Readers end after the last byte. It is sealed, or the job was never seen to end."""
        self._chain.release()
        self.ended = True
        self.notify()

    def remove(self) -> None:
        """It is gone for every reader, as a gap. The files are the caller's to remove."""
        self._chain.forget()
        self._refused.gaps = []
        self._front = "retention"
        self.ended = True
        self.notify()

    def notify(self) -> None:
        """Wakes every reader: there is more, or the log has ended. Never waits."""
        self.broadcaster.notify()

    # Reading.

    @property
    def first(self) -> int:
        """Offset of the first byte that is there; ``length`` if none is."""
        first = self._chain.first
        return self.length if first is None else first

    def segment_at(self, offset: int) -> Segment | None:
        """The segment that holds a byte; None: it is in a gap."""
        return self._chain.at(offset)

    def segments(self) -> list[Segment]:
        """Oldest first."""
        return self._chain.segments()

    def missing_at(self, offset: int) -> Gap:
        """The gap, or the rest of it, that holds ``offset``, which is below ``length``."""
        stop = self.length
        following = self._chain.next_start(offset)
        if following is not None:
            stop = min(stop, following)
        reason: GapReason = self._front if offset < self.first else "damaged"
        refused = self._refused.gaps
        place = bisect.bisect_right(refused, offset, key=_gap_start)
        if place and offset < refused[place - 1].end:
            gap = refused[place - 1]
            return Gap(offset, min(stop, gap.end), gap.reason)
        if place < len(refused):
            stop = min(stop, refused[place].start)
        return Gap(offset, stop, reason)

    def gaps(self) -> tuple[Gap, ...]:
        """Everything that was produced and is not there, in order."""
        found: list[Gap] = []
        offset = 0
        while offset < self.length:
            segment = self.segment_at(offset)
            if segment is not None:
                offset = segment.end
                continue
            gap = self.missing_at(offset)
            found.append(gap)
            offset = gap.end
        return tuple(found)

    def check_offset(self, offset: int) -> None:
        """Raises OffsetPastEnd for bytes that have not been produced."""
        if offset > self.length:
            raise OffsetPastEnd(offset, self.length)

    def digest(self) -> Digest:
        """What to hash of it now, in a thread."""
        parts = [(each.data_path, each.end - each.start) for each in self._chain.segments()]
        return Digest(self.disk, parts)

    def statistics(self) -> dict[str, int]:
        """readers, segments, entries, length and stored_bytes, for tests and for the curious."""
        segments = self._chain.segments()
        return {
            "readers": self.broadcaster.readers,
            "segments": len(segments),
            "entries": sum(segment.entries for segment in segments),
            "length": self.length,
            "stored_bytes": self.stored_bytes,
        }


def _gap_start(gap: Gap) -> int:
    return gap.start
