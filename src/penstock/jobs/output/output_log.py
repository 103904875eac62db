"""A job's output on disk: the one truth that every reader reads.

Segments hold the bytes, and what is between them is gone: a gap. docs/output.md has the
format byte for byte, and what a torn tail means.
"""

import bisect
import contextlib
import errno
import os
import time
from collections.abc import Iterable
from typing import Final

import trio

from ..job_errors import OffsetPastEnd
from ..reporting import say
from . import recovery
from .digest import Digest
from .disk import Disk, RealDisk
from .gaps import Gap, GapFile, GapReason
from .preallocation import AHEAD_BYTES
from .segment import Segment, StreamNumber

# One byte at a time would else make an index of 21 bytes for each of them.
MERGE_NS: Final = 5_000_000
# Four chunks of cursor.py: what is moved at once is read in whole ones.
SPLICE_BYTES: Final = 4 * 63 * 1024
# The oldest go a segment at a time: an eighth of what is kept, so that little is lost at once.
SEGMENTS: Final = 8
LEAST_SEGMENT_BYTES: Final = 16 * 1024
MOST_SEGMENT_BYTES: Final = 32 * 1024 * 1024
# Output must not take the last of the disk: the end records of the jobs that it stops have
# to be written there too.
RESERVE_BYTES: Final = 4 * 1024 * 1024


class OutputLog:
    """An append-only log of one job. Appending and reading never wait but for the disk.

    ``length`` counts what the job has produced, kept or not. Files are open while they are
    appended to or read, so finished jobs cost no descriptors.
    """

    def __init__(self, directory: str, disk: Disk | None = None) -> None:
        """The place of a log; see ``create`` and ``load``."""
        self.directory = directory
        self.disk: Disk = RealDisk() if disk is None else disk
        self.length = 0
        self.ended = True
        self.stored_bytes = 0
        """What it takes of the disk, indexes included."""
        self._segments: list[Segment] = []
        self._unremoved: list[Segment] = []
        self._current: Segment | None = None
        self._segment_bytes = MOST_SEGMENT_BYTES
        self._ahead_bytes = AHEAD_BYTES
        self._refused = GapFile(self.disk, directory)
        self._refusing = False
        self._unclosed = False
        self._front: GapReason = "retention"
        self._wakers: set[trio.MemorySendChannel[None]] = set()

    @classmethod
    def create(
        cls, directory: str, *, limit_bytes: int | None = None, disk: Disk | None = None
    ) -> "OutputLog":
        """A new, empty log that is open for appending. Raises OSError.

        ``limit_bytes`` decides the size of segments; who keeps the limit is output_quota.py.
        """
        log = cls(directory, disk)
        log._set_limit(limit_bytes)
        log.disk.make_directory(directory)
        log._begin_segment()
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
        log._segments, end = recovery.find(
            log.disk, directory, closed=length is not None and sealed
        )
        ends = [end, *(gap.end for gap in log._refused.gaps)]
        log.length = max(ends) if length is None else length
        log._segments = recovery.cut(log._segments, log.length)
        log.stored_bytes = sum(segment.stored_bytes for segment in log._segments)
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
        log._set_limit(limit_bytes)
        log.length = max(log.length, recovery.end_of_files(log.disk, directory))
        recovery.clear(log.disk, directory, log.length)
        last = log._segments[-1] if log._segments else None
        # Also one that a gap follows: whoever writes or ends next closes it first.
        if last is not None and last.end_known:
            try:
                last.acquire()
                log._current = last
                last.find_reserve()
            except OSError as error:
                if error.errno in recovery.SHORTAGES:
                    raise
                log._unclosed = True  # the next move begins another one
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
        log._unclosed = True
        log.ended = False
        return log

    def _set_limit(self, limit_bytes: int | None) -> None:
        if limit_bytes is not None:
            share = max(LEAST_SEGMENT_BYTES, limit_bytes // SEGMENTS)
            self._segment_bytes = min(share, MOST_SEGMENT_BYTES)
            self._ahead_bytes = min(limit_bytes, AHEAD_BYTES)

    def close_recovered(self) -> bool:
        """Ends the last segment of a log that a crash has left open, as seal does."""
        closed = recovery.close_last(self._segments)
        self.give_back()
        return closed

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
        segment = self._writable()
        room = max(1, self._segment_bytes - segment.stored_bytes)
        free_bytes = segment.free_bytes()
        if free_bytes >= RESERVE_BYTES + spare_bytes:
            segment.refill_reserve(free_bytes)
        elif segment.reserved_bytes:
            room = segment.reserved_bytes  # it takes nothing of the disk that is not its own
        else:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.directory)
        now_ns = time.time_ns()
        entry_ns = now_ns if segment.needs_entry(stream, now_ns, MERGE_NS) else None
        before = segment.stored_bytes
        moved = segment.append(pipe_fd, stream, min(most, SPLICE_BYTES, room), entry_ns)
        if moved:
            self.length += moved
            self.stored_bytes += segment.stored_bytes - before
            self._refusing = False
        return moved

    def _writable(self) -> Segment:
        segment = self._current
        if segment is not None:
            goes_on = segment.end == self.length
            if goes_on and segment.stored_bytes < self._segment_bytes:
                return segment
            if segment.end == segment.start:
                self._drop(segment)
                return self._begin_segment()
            # Before the next one is there: else a crash in between would have cut it.
            segment.close()
            try:
                following = self._begin_segment()
            except OSError:
                if not (goes_on and segment.reserved_bytes):
                    self._let_go(segment)
                    raise
                segment.reopen()  # its reserve goes beyond its size as planned
                return segment
            self._let_go(segment)
            return following
        return self._begin_segment()

    def _begin_segment(self) -> Segment:
        segment = Segment(self.disk, self.directory, self.length, self._ahead_bytes)
        segment.create()
        self._segments.append(segment)
        self._current = segment
        segment.refill_reserve(segment.free_bytes())
        return segment

    def _let_go(self, segment: Segment) -> None:
        """It is closed, and not written to any more."""
        segment.trim()
        segment.release()
        if segment is self._current:
            self._current = None

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
        if not self._segments or self._segments[0].end == self._segments[0].start:
            return False
        oldest = self._segments[0]
        if len(self._segments) == 1:
            # How far the log has come stands in the next one's name, should this server be killed
            # now. A disk that refuses even that can have the room: what was dropped then is known
            # to this server alone.
            with contextlib.suppress(OSError):
                self._begin_segment()
        self._drop(oldest)
        return True

    def _drop(self, segment: Segment) -> None:
        self._segments.remove(segment)
        self.stored_bytes -= segment.stored_bytes
        if segment is self._current:
            self._current = None
        self._unlink(segment)

    def _unlink(self, segment: Segment) -> None:
        """Oldest first, whatever the disk refuses: what a next life finds begins with the oldest
        that is there, and it would take one that is missing behind that for damage."""
        self._unremoved.append(segment)
        segment.forget()
        while self._unremoved:
            try:
                self._unremoved[0].drop()
            except OSError as error:
                # A disk that is read-only, most likely. It goes with the job's directory.
                say(f"{self._unremoved[0].data_path} cannot be removed: {error.strerror}")
                return
            del self._unremoved[0]

    def seal(self) -> bool:
        """No more bytes will come: says in the index where it ends, so that a cut is seen.

        False: the disk does not take it, and the end record must say so. No checkpoint.
        """
        if self._current is None:
            return not self._unclosed or recovery.close_last(self._segments)
        try:
            self._current.close()
        except OSError:
            return False
        return True

    @property
    def has_reserve(self) -> bool:
        """It takes more of the disk than it stores: see give_back."""
        return any(segment.has_reserve for segment in self._segments)

    def give_back(self) -> None:
        """Its reserve is the disk's again. In a thread, once it has ended."""
        for segment in self.segments():
            segment.give_back()

    def finish(self) -> None:
        """Readers end after the last byte. It is sealed, or the job was never seen to end."""
        segment, self._current = self._current, None
        if segment is not None:
            segment.release()
        self.ended = True
        self.notify()

    def remove(self) -> None:
        """It is gone for every reader, as a gap. The files are the caller's to remove."""
        for segment in self._segments:
            segment.forget()
        self._segments = []
        self._current = None
        self._refused.gaps = []
        self._front = "retention"
        self.stored_bytes = 0
        self.ended = True
        self.notify()

    # Reading.

    @property
    def first(self) -> int:
        """Offset of the first byte that is there; ``length`` if none is."""
        kept = [each.start for each in self._segments[:1] if each.end > each.start]
        return kept[0] if kept else self.length

    def segment_at(self, offset: int) -> Segment | None:
        """The segment that holds a byte; None: it is in a gap."""
        place = bisect.bisect_right(self._segments, offset, key=_start) - 1
        if place >= 0 and offset < self._segments[place].end:
            return self._segments[place]
        return None

    def segments(self) -> list[Segment]:
        """Oldest first."""
        return list(self._segments)

    def missing_at(self, offset: int) -> Gap:
        """The gap, or the rest of it, that holds ``offset``, which is below ``length``."""
        stop = self.length
        for segment in self._segments[bisect.bisect_right(self._segments, offset, key=_start) :]:
            if segment.end > segment.start:
                stop = min(stop, segment.start)
                break
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
        parts = [(each.data_path, each.end - each.start) for each in self._segments]
        return Digest(self.disk, parts)

    # Telling.

    def notify(self) -> None:
        """Tells every reader that there is more, or that the log has ended. Never waits.

        A wake-up may be dropped when one is waiting already; data cannot, as readers look
        at ``length`` themselves.
        """
        for waker in self._wakers:
            try:
                waker.send_nowait(None)
            except trio.WouldBlock:
                continue

    def subscribe(self) -> tuple[trio.MemorySendChannel[None], trio.MemoryReceiveChannel[None]]:
        """A reader's wake-ups, capacity 1; pair with unsubscribe."""
        send, receive = trio.open_memory_channel[None](1)
        self._wakers.add(send)
        return send, receive

    def unsubscribe(self, waker: trio.MemorySendChannel[None]) -> None:
        """The reader is gone."""
        self._wakers.discard(waker)

    def statistics(self) -> dict[str, int]:
        """readers, segments, entries, length and stored_bytes, for tests and for the curious."""
        return {
            "readers": len(self._wakers),
            "segments": len(self._segments),
            "entries": sum(segment.entries for segment in self._segments),
            "length": self.length,
            "stored_bytes": self.stored_bytes,
        }


def _gap_start(gap: Gap) -> int:
    return gap.start


def _start(segment: Segment) -> int:
    return segment.start
