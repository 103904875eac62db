"""The log of a job's output on disk, from which every reader is served.

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
Any task may read at any time in Trio's thread. No call here has a checkpoint, so a reader that
looks between two of them sees whole segments and gaps. ``digest`` and ``free_reserve`` alone may
run in another thread, after the end.

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
from .segment import Segment
from .segment_chain import SPLICE_BYTES, SegmentChain
from .segment_index import StreamNumber


class OutputLog:
    """An append-only log of one job. Appending and reading never wait but for the disk."""

    def __init__(self, directory: str, disk: Disk | None = None) -> None:
        """Names a log's directory only; ``create``, ``load`` and ``resume`` touch the disk."""
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

        ``limit_bytes`` decides the size of segments; output_quota.py enforces the limit.
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
        """The log of a job that has ended. Bytes that cannot be read are gaps.

        ``length``, ``gaps`` and ``sealed`` are from its end record; all else that is missing is
        ``damaged``. Without them the job was lost, so the log ends where its files do. Raises
        OSError if this process lacks descriptors or memory to look.
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

        Bytes that the disk cannot read back are a gap; a disk that takes no bytes shows at the next
        move. Raises OSError if the log's end cannot be known; see ``load_stuck``.
        """
        log = cls.load(directory, disk=disk)
        log._chain.set_limit(limit_bytes)
        log.length = max(log.length, recovery.end_of_files(log.disk, directory))
        log._chain.reopen_last(log.length)
        log.ended = False
        return log

    @classmethod
    def load_stuck(cls, directory: str, *, disk: Disk | None = None) -> "OutputLog":
        """The readable part of the log of a job that runs on, when ``resume`` has failed.

        The caller must append nothing, because the place where the log ends is unknown.
        """
        try:
            log = cls.load(directory, disk=disk)
        except OSError:
            log = cls(directory, disk)
        log._chain.never_close()
        log.ended = False
        return log

    def close_recovered(self) -> bool:
        """Ends the last segment of a log that a crash has left open, as ``seal`` does."""
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
        """Moves at most ``most`` bytes from the pipe to the log's end; 0 at end of file.

        The bytes never pass through this process. Raises BlockingIOError if the pipe is empty now.
        Raises OSError if the disk refuses them, or has less than RESERVE_BYTES and ``spare_bytes``
        left while the log has used up its own reserve; they stay in the pipe then.
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
            # Recorded before the first byte is gone, so that a kill in between loses no gap. A gap
            # that gets no bytes is not reported.
            self._refused.begin(self.length, reason)
            self._refusing = True
        count = self.disk.discard(pipe_fd, most)
        if count:
            self._refused.grow(count)
            self.length += count
        return count

    def drop_oldest(self) -> bool:
        """Drops the oldest segment, be it the one that is written to; False if there is none."""
        return self._chain.drop_oldest(self.length)

    def seal(self) -> bool:
        """Writes into the index where the log ends, so that a later cut is detected.

        Called when no more bytes will come. False: the disk refused it, so the end record must say
        that the log is not sealed. No checkpoint.
        """
        return self._chain.seal()

    @property
    def stored_bytes(self) -> int:
        """Bytes that the log stores on the disk, indexes included."""
        return self._chain.stored_bytes

    @property
    def has_reserve(self) -> bool:
        """Whether it has blocks on the disk beyond what it stores; see ``free_reserve``."""
        return self._chain.has_reserve

    def free_reserve(self) -> None:
        """Frees the reserved blocks. Call it in a thread, once the log has ended, because a disk
        may take milliseconds for it."""
        self._chain.free_reserve()

    def finish(self) -> None:
        """Ends the log, so that readers end after the last byte. The caller has sealed it before,
        unless the job's end was never seen."""
        self._chain.release()
        self.ended = True
        self.notify()

    def remove(self) -> None:
        """Makes all bytes a gap for every reader. The caller must remove the files."""
        self._chain.forget()
        self._refused.gaps = []
        self._front = "retention"
        self.ended = True
        self.notify()

    def notify(self) -> None:
        """Wakes every reader, because there is more or the log has ended. Never waits."""
        self.broadcaster.notify()

    # Reading.

    @property
    def first(self) -> int:
        """The offset of the first byte that the log still has; ``length`` if it has none."""
        first = self._chain.first
        return self.length if first is None else first

    def segment_at(self, offset: int) -> Segment | None:
        """The segment that has the byte at ``offset``; None if that is in a gap."""
        return self._chain.at(offset)

    def segments(self) -> list[Segment]:
        """The segments that the log has, oldest first."""
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
        """Every range that the job has produced and the log lacks, in order."""
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
        """Raises OffsetPastEnd if the job has not produced ``offset`` bytes yet."""
        if offset > self.length:
            raise OffsetPastEnd(offset, self.length)

    def digest(self) -> Digest:
        """A Digest of the bytes that the log has now, to be computed in a thread."""
        parts = [(each.data_path, each.end - each.start) for each in self._chain.segments()]
        return Digest(self.disk, parts)

    def statistics(self) -> dict[str, int]:
        """readers, segments, entries, length and stored_bytes, for tests and diagnostics."""
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
