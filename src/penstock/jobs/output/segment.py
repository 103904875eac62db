"""One segment of a log: a file of bytes and the index of their runs.

Theory of operation. A segment is the bytes [start, end) of a log, in two files that both only grow.
The data file has the bytes and nothing else. The index has one entry of fixed size for each *run*
(bytes of one stream, moved within a few milliseconds): offset, time, stream and a CRC. A run ends
where the next entry begins; the last one ends where the data file does. docs/output.md has the
format byte for byte. A segment is in one of these states:

    new ── create ──▶ open ── close ──▶ closed ── trim, free_reserve ──▶ closed, no blocks ahead
    open, closed ── drop, forget ──▶ gone          closed ── reopen ──▶ open
    files of an earlier server ── recover(closed=...) ──▶ open or closed

Who may call what. Everything runs in Trio's thread without a checkpoint, but ``free_reserve``,
which is called in a thread once no task uses the segment. The writer and each reader are *users*:
they ``acquire`` and ``release``, and the last one closes the files, so that a finished job costs no
descriptors. ``drop`` and ``forget`` close them under their users, because a reader that stalls must
keep no disk space. Only one process appends.

The race that shaped it: the server is killed between any two writes. An entry is written before its
bytes, so that bytes without an entry cannot be; an entry without bytes is a trace of a kill, which
``recover`` takes back. ``close`` writes an entry that begins no run, so that a data
file that is cut later is detected. Entries themselves, and what one that is torn or fails its CRC
means for the run before it (``end_known``), are in segment_index.py.
"""

import contextlib
import os
from typing import Final

from .disk import Disk
from .preallocation import AHEAD_BYTES, Reserve
from .segment_index import CLOSING, Entry, Run, SegmentIndex, StreamNumber

# Enough for some twelve thousand runs.
_INDEX_AHEAD_BYTES: Final = 256 * 1024


class Segment:
    """Bytes [start, end) of a log. Its files are open while it has users."""

    def __init__(
        self, disk: Disk, directory: str, start: int, ahead_bytes: int = AHEAD_BYTES
    ) -> None:
        """Names the files only; ``create`` and ``recover`` touch them. ``ahead_bytes`` is how many
        bytes of blocks the data file gets before it has bytes for them."""
        self.start = start
        self.end = start
        self._disk = disk
        name = os.path.join(directory, f"{start:020}")
        self.data_path = f"{name}.output"
        self._data_fd = -1
        self._index = SegmentIndex(disk, f"{name}.index", min(_INDEX_AHEAD_BYTES, ahead_bytes))
        self._users = 0
        self._last: Entry | None = None
        self._data_reserve = Reserve(disk, ahead_bytes)

    @property
    def stored_bytes(self) -> int:
        """Bytes that the segment stores on the disk, the index included."""
        return self.end - self.start + self._index.size

    @property
    def end_known(self) -> bool:
        """Whether its last run is certain to go as far as its bytes do."""
        return self._index.end_known

    @property
    def entries(self) -> int:
        """How many runs the index has."""
        return self._index.count

    # Files.

    def create(self) -> None:
        """Makes both files; the caller is their first user. Raises OSError; none is left then."""
        self._index.open(create=True)
        try:
            self._data_fd = self._disk.open(self.data_path, create=True)
        except OSError:
            self._index.close()
            self._disk.unlink(self._index.path)
            raise
        self._users = 1

    def acquire(self) -> None:
        """Opens the files for one more user; pair with release. Raises OSError."""
        if self._users == 0:
            self._data_fd = self._disk.open(self.data_path)
            try:
                self._index.open()
            except OSError:
                self._disk.close(self._data_fd)
                raise
        self._users += 1

    def release(self) -> None:
        """Ends one use; the last one closes the files."""
        if self._users < 0:
            return
        self._users -= 1
        if self._users == 0:
            self._disk.close(self._data_fd)
            self._index.close()

    def forget(self) -> None:
        """Closes the files under their users, because a stalled reader must keep no disk space."""
        if self._users > 0:
            self._disk.close(self._data_fd)
            self._index.close()
        self._users = -1

    def drop(self) -> None:
        """Removes the files; the bytes are gone for readers at once.

        Raises OSError if the disk still has them; the caller may call it again then.
        """
        self.forget()
        self._disk.unlink(self.data_path)
        self._disk.unlink(self._index.path)

    def free_bytes(self) -> int:
        """Free bytes of the segment's disk. Raises OSError."""
        return self._disk.free_bytes(self._data_fd)

    # Writing; the writer is a user.

    @property
    def reserved_bytes(self) -> int:
        """How many bytes can be appended even if the disk has no block left, in one run."""
        # Two entries: the run's, and the one that closes the segment.
        if self._index.reserved_entries < 2:
            return 0
        return self._data_reserve.left(self.end - self.start)

    def refill_reserve(self, free_bytes: int) -> None:
        """Fills the reserves of both files, if the disk's ``free_bytes`` are enough."""
        self._data_reserve.refill(self._data_fd, self.end - self.start, free_bytes)
        self._index.refill_reserve(free_bytes)

    def find_reserve(self) -> None:
        """Finds the reserves that an earlier server has left."""
        self._data_reserve.find(self._data_fd, self.end - self.start)
        self._index.find_reserve()

    def reopen(self) -> None:
        """Opens a closed segment for appending, where the disk takes no new segment.

        The next bytes begin a run, whose entry takes the place of the closing one.
        """
        self._last = None

    def trim(self) -> None:
        """Frees the data file's blocks ahead, once it is closed and others follow.

        The caller must be a user. Raises nothing: on an error the blocks are freed with the file.
        """
        if self._data_reserve.left(self.end - self.start):
            with contextlib.suppress(OSError):
                self._disk.trim(self._data_fd, self._disk.size(self.data_path))
            self._data_reserve.forget()

    @property
    def has_reserve(self) -> bool:
        """Whether either file has blocks ahead that were not given back."""
        data_bytes = self._data_reserve.left(self.end - self.start)
        return bool(data_bytes or self._index.reserved_bytes)

    def free_reserve(self) -> None:
        """Frees the blocks ahead of both files, once no more bytes come.

        The caller need not be a user. Call it in a thread, because a disk that is informed of each
        free block takes milliseconds. It goes by the files' sizes on the disk and not by ``end``,
        because a file that was cut must not grow.
        """
        for path in (self.data_path, self._index.path):
            with contextlib.suppress(OSError):
                fd = self._disk.open(path)
                try:
                    self._disk.trim(fd, self._disk.size(path))
                finally:
                    self._disk.close(fd)
        self._data_reserve.forget()
        self._index.forget_reserve()

    def needs_entry(self, stream: StreamNumber, now_ns: int, merge_ns: int) -> bool:
        """Whether bytes of ``stream`` at ``now_ns`` begin a new run, because the last one is of
        another stream or did not begin within ``merge_ns`` before."""
        last = self._last
        return last is None or last.stream != stream or not 0 <= now_ns - last.time_ns < merge_ns

    def append(self, pipe_fd: int, stream: StreamNumber, count: int, entry_ns: int | None) -> int:
        """Moves at most ``count`` bytes from the pipe to the end; how many, 0 at end of file.

        With ``entry_ns`` they begin a run of that time. Its entry is written before them, so that
        bytes without an entry cannot be; if none come, the next entry takes its place. Raises
        BlockingIOError or OSError; no byte has moved then.
        """
        entry = None
        if entry_ns is not None:
            entry = Entry(self.end, entry_ns, stream)
            self._index.write(entry)
        moved = self._disk.splice(pipe_fd, self._data_fd, count, self.end - self.start)
        if moved and entry is not None:
            self._last = entry
            self._index.count += 1
        self.end += moved
        return moved

    def close(self) -> None:
        """Writes the closing entry, so that a later cut is detected. Raises OSError."""
        self._index.write(Entry(self.end, 0, CLOSING))

    # Reading; the reader is a user.

    def read(self, offset: int, count: int) -> bytes:
        """At most ``count`` bytes from ``offset`` on; fewer at the end. Raises OSError."""
        return self._disk.read(self._data_fd, count, offset - self.start)

    def locate(self, offset: int, position: int) -> Run:
        """The run that holds ``offset``, which is in [start, end). Raises OSError.

        ``position`` is that of the last run looked up, 0 at first; it spares the search.
        """
        return self._index.locate(offset, position, self.end)

    def offset_at(self, time_ns: int) -> int | None:
        """The offset of the first run from ``time_ns`` or later; None: all are earlier. OSError."""
        self.acquire()
        try:
            return self._index.offset_at(time_ns)
        finally:
            self.release()

    # Recovery.

    def recover(self, *, closed: bool) -> None:
        """Finds ``end`` from the files. ``closed``: its server should have closed it. OSError.

        Bytes beyond a closing entry never counted. Where that entry is missing although it should
        exist, the index was cut, so it is unknown how far the last run goes.
        """
        self.end = self.start + self._disk.size(self.data_path)
        self._index.recover()
        self.acquire()
        try:
            last = self._index.take_back(self.end)
        finally:
            self.release()
        if last is not None and last.stream == CLOSING:
            self.end = min(self.end, last.offset)
        else:
            self._last = last
            self._index.end_known = self._index.end_known and not closed
