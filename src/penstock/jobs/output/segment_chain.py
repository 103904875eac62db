"""The files of one log: segments, oldest first, of which at most the last is written to.

The next one begins where one ends, or behind a gap (output_log.py). The oldest are dropped whole,
so that a log keeps its bound without being copied. Files are open only while they are appended to
or read, so that the log of a finished job costs no descriptors.
"""

import bisect
import contextlib
import errno
import os
import time
from typing import Final

from ..reporting import say
from . import recovery
from .disk import Disk
from .preallocation import AHEAD_BYTES
from .segment import Segment
from .segment_index import StreamNumber

# Bytes within this time share a run, because otherwise a job that writes byte by byte would need an
# index entry of 21 bytes for each.
MERGE_NS: Final = 5_000_000
# Four chunks of cursor.py, so that what is moved at once is read in whole ones.
SPLICE_BYTES: Final = 4 * 63 * 1024
# The oldest go a segment at a time, an eighth of what is kept, so that little is lost at once.
SEGMENTS: Final = 8
LEAST_SEGMENT_BYTES: Final = 16 * 1024
MOST_SEGMENT_BYTES: Final = 32 * 1024 * 1024
# Output must not use up the disk, because the end records of the jobs that it stops have to be
# written there too.
RESERVE_BYTES: Final = 4 * 1024 * 1024


class SegmentChain:
    """Offsets are the log's; ``end`` is where the log ends now, and so where the next byte goes.

    At most one process appends, and no call has a checkpoint, so that readers see whole segments.
    """

    def __init__(self, disk: Disk, directory: str) -> None:
        self._disk = disk
        self._directory = directory
        self._segments: list[Segment] = []
        self._unremoved: list[Segment] = []
        self._current: Segment | None = None
        self._segment_bytes = MOST_SEGMENT_BYTES
        self._ahead_bytes = AHEAD_BYTES
        self._unclosed = False
        self.stored_bytes = 0
        """Bytes that the segments store on the disk, indexes included."""

    def set_limit(self, limit_bytes: int | None) -> None:
        """Sets the size of new segments by the log's bound, which output_quota.py enforces."""
        if limit_bytes is not None:
            share = max(LEAST_SEGMENT_BYTES, limit_bytes // SEGMENTS)
            self._segment_bytes = min(share, MOST_SEGMENT_BYTES)
            self._ahead_bytes = min(limit_bytes, AHEAD_BYTES)

    # What an earlier life has left.

    def load(self, *, closed: bool) -> int:
        """Loads the segments that can be read, and returns the offset that they had come to.

        Raises as recovery.find.
        """
        self._segments, end = recovery.find(self._disk, self._directory, closed=closed)
        return end

    def cut(self, length: int) -> None:
        """Drops bytes beyond ``length``. Called after ``load``, once the log's length is known."""
        self._segments = recovery.cut(self._segments, length)
        self.stored_bytes = sum(segment.stored_bytes for segment in self._segments)

    def reopen_last(self, end: int) -> None:
        """Opens the last segment for appending, if its end is certain, also one without bytes at
        ``end``. Raises as recovery.clear."""
        following = recovery.clear(self._disk, self._directory, end)
        if following is not None:
            self._segments.append(following)
        last = self._segments[-1] if self._segments else None
        # Also one that a gap follows, because the next move or the log's end closes it first.
        if last is not None and last.end_known:
            try:
                last.acquire()
                self._current = last
                last.find_reserve()
            except OSError as error:
                if error.errno in recovery.SHORTAGES:
                    raise
                if last.end == last.start:
                    self._drop(last)  # the next one has its name
                self.never_close()  # the next move begins another one

    def never_close(self) -> None:
        """Marks the last segment as one that this process does not write to and so cannot close."""
        self._unclosed = True

    def close_recovered(self) -> bool:
        """Ends the last segment of a log that a crash has left open, as ``seal`` does."""
        closed = recovery.close_last(self._segments)
        self.free_reserve()
        return closed

    # Appending.

    def append(
        self, end: int, pipe_fd: int, stream: StreamNumber, most: int, spare_bytes: int
    ) -> int:
        """Moves bytes from a pipe to the end, into a new segment where needed: OutputLog.move."""
        segment = self._writable(end)
        room = max(1, self._segment_bytes - segment.stored_bytes)
        free_bytes = segment.free_bytes()
        if free_bytes >= RESERVE_BYTES + spare_bytes:
            segment.refill_reserve(free_bytes)
        elif segment.reserved_bytes:
            room = segment.reserved_bytes  # because it needs no block that is not its own
        else:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._directory)
        now_ns = time.time_ns()
        entry_ns = now_ns if segment.needs_entry(stream, now_ns, MERGE_NS) else None
        before = segment.stored_bytes
        moved = segment.append(pipe_fd, stream, min(most, SPLICE_BYTES, room), entry_ns)
        if moved:
            self.stored_bytes += segment.stored_bytes - before
        return moved

    def _writable(self, end: int) -> Segment:
        segment = self._current
        if segment is not None:
            goes_on = segment.end == end
            if goes_on and segment.stored_bytes < self._segment_bytes:
                return segment
            if segment.end == segment.start:
                return self._begin_instead(segment, end)
            # Before the next one exists, because after a kill in between it would look cut.
            segment.close()
            try:
                following = self.begin(end)
            except OSError:
                if not (goes_on and segment.reserved_bytes):
                    self._let_go(segment)
                    raise
                segment.reopen()  # its reserve goes beyond its size as planned
                return segment
            self._let_go(segment)
            return following
        return self.begin(end)

    def begin(self, end: int) -> Segment:
        """Makes a segment at ``end``, which is written to from now on. Raises OSError."""
        segment = Segment(self._disk, self._directory, end, self._ahead_bytes)
        segment.create()
        self._segments.append(segment)
        self._current = segment
        segment.refill_reserve(segment.free_bytes())
        return segment

    def _begin_instead(self, empty: Segment, end: int) -> Segment:
        """Makes a segment at ``end`` and drops the one without bytes, on which a gap followed.

        In this order, because the name of the empty one may be all that has how far the log has
        come, if the disk refused the gap's record. A disk that has no file left to give gets that
        one's first.
        """
        try:
            segment = self.begin(end)
        except OSError:
            self._drop(empty)
            return self.begin(end)
        self._drop(empty)
        return segment

    def _let_go(self, segment: Segment) -> None:
        """Ends the writer's use of a segment that is closed, and frees its blocks ahead."""
        segment.trim()
        segment.release()
        if segment is self._current:
            self._current = None

    def drop_oldest(self, end: int) -> bool:
        """Drops the oldest segment, be it the one that is written to; False if there is none."""
        if not self._segments or self._segments[0].end == self._segments[0].start:
            return False
        oldest = self._segments[0]
        if len(self._segments) == 1:
            # The next one is made first, because its name has the log's end if the server is killed
            # now. If the disk refuses even that, the segment is dropped anyway, and only this
            # server knows the log's end.
            with contextlib.suppress(OSError):
                self.begin(end)
        self._drop(oldest)
        return True

    def _drop(self, segment: Segment) -> None:
        self._segments.remove(segment)
        self.stored_bytes -= segment.stored_bytes
        if segment is self._current:
            self._current = None
        self._unlink(segment)

    def _unlink(self, segment: Segment) -> None:
        """Removes files strictly oldest first, and keeps the rest for later if the disk refuses
        one, because the next server would take a missing segment behind it for damage."""
        self._unremoved.append(segment)
        segment.forget()
        while self._unremoved:
            try:
                self._unremoved[0].drop()
            except OSError as error:
                # Most likely the disk is read-only. The file is removed with the job's directory.
                say(f"{self._unremoved[0].data_path} cannot be removed: {error.strerror}")
                return
            del self._unremoved[0]

    def seal(self) -> bool:
        """Writes into the index where the log ends, so that a later cut is detected.

        Called when no more bytes will come. False: the disk refused it, so the end record must say
        that the log is not sealed. No checkpoint.
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
        """Whether it has blocks on the disk beyond what it stores; see ``free_reserve``."""
        return any(segment.has_reserve for segment in self._segments)

    def free_reserve(self) -> None:
        """Frees the reserved blocks. Call it in a thread, once the log has ended."""
        for segment in self.segments():
            segment.free_reserve()

    def release(self) -> None:
        """Ends the writer's use of the last segment, because no more bytes come."""
        segment, self._current = self._current, None
        if segment is not None:
            segment.release()

    def forget(self) -> None:
        """Drops all segments for every reader. The caller must remove the files."""
        for segment in self._segments:
            segment.forget()
        self._segments = []
        self._current = None
        self.stored_bytes = 0

    # Looking.

    def segments(self) -> list[Segment]:
        """The segments, oldest first; a copy."""
        return list(self._segments)

    @property
    def first(self) -> int | None:
        """The offset of the first byte that a segment has; None if there is none."""
        if self._segments and self._segments[0].end > self._segments[0].start:
            return self._segments[0].start
        return None

    def at(self, offset: int) -> Segment | None:
        """The segment that has the byte at ``offset``; None if that is in a gap."""
        place = bisect.bisect_right(self._segments, offset, key=_start) - 1
        if place >= 0 and offset < self._segments[place].end:
            return self._segments[place]
        return None

    def next_start(self, offset: int) -> int | None:
        """The start of the first segment with bytes that begins after ``offset``; None if none."""
        place = bisect.bisect_right(self._segments, offset, key=_start)
        following = self._segments[place:]
        return next((each.start for each in following if each.end > each.start), None)


def _start(segment: Segment) -> int:
    return segment.start
