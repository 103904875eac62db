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
``recover`` takes back (``_trim``). ``close`` writes an entry that begins no run, so that a data
file that is cut later is detected. Where an entry is torn or fails its CRC, a run has begun at an
unknown place, so the one before it may be shorter than it seems: ``end_known`` is false then, and
the bytes count as damaged instead of being given as another stream's.
"""

import contextlib
import os
import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal

from .disk import Disk
from .preallocation import AHEAD_BYTES, Reserve

StreamNumber = Literal[1, 2]  # stdout, stderr

_HEAD: Final = struct.Struct("<QQB")  # offset, time_ns, stream
ENTRY_BYTES: Final = _HEAD.size + 4  # and the CRC-32 of what is before it
CLOSING: Final = 0  # in place of the stream: no run begins here, because the segment ends
# How many entries behind a damaged one are searched for one that is whole.
_LOOK_AHEAD: Final = 4096
# Enough for some twelve thousand runs.
_INDEX_AHEAD_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A run of bytes of one stream; it ends where the next begins, or the segment ends."""

    offset: int
    time_ns: int
    stream: int

    def encode(self) -> bytes:
        """The entry's ENTRY_BYTES bytes in the index, CRC included."""
        head = _HEAD.pack(self.offset, self.time_ns, self.stream)
        return head + zlib.crc32(head).to_bytes(4, "little")


def decode(data: bytes) -> Entry | None:
    """The entry in these bytes; None if they are torn or their CRC is wrong."""
    head = data[: _HEAD.size]
    if len(data) != ENTRY_BYTES or zlib.crc32(head) != int.from_bytes(data[_HEAD.size :], "little"):
        return None
    return Entry(*_HEAD.unpack(head))


@dataclass(frozen=True, slots=True)
class Run:
    """The run that a byte belongs to, up to ``end``. ``stream`` None: the bytes are damaged."""

    stream: StreamNumber | None
    time_ns: int
    end: int
    position: int  # of its entry, which the next look-up is given to spare the search


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
        self.data_path, self._index_path = f"{name}.output", f"{name}.index"
        self._data_fd = self._index_fd = -1
        self._users = 0
        self._entries = 0
        self._last: Entry | None = None
        self._end_known = True
        self._data_reserve = Reserve(disk, ahead_bytes)
        self._index_reserve = Reserve(disk, min(_INDEX_AHEAD_BYTES, ahead_bytes))

    @property
    def stored_bytes(self) -> int:
        """Bytes that the segment stores on the disk, the index included."""
        return self.end - self.start + self._entries * ENTRY_BYTES

    @property
    def end_known(self) -> bool:
        """Whether its last run is certain to go as far as its bytes do."""
        return self._end_known

    @property
    def entries(self) -> int:
        """How many runs the index has."""
        return self._entries

    # Files.

    def create(self) -> None:
        """Makes both files; the caller is their first user. Raises OSError; none is left then."""
        index_fd = self._disk.open(self._index_path, create=True)
        try:
            self._data_fd = self._disk.open(self.data_path, create=True)
        except OSError:
            self._disk.close(index_fd)
            self._disk.unlink(self._index_path)
            raise
        self._index_fd = index_fd
        self._users = 1

    def acquire(self) -> None:
        """Opens the files for one more user; pair with release. Raises OSError."""
        if self._users == 0:
            self._data_fd = self._disk.open(self.data_path)
            try:
                self._index_fd = self._disk.open(self._index_path)
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
            self._disk.close(self._index_fd)

    def forget(self) -> None:
        """Closes the files under their users, because a stalled reader must keep no disk space."""
        if self._users > 0:
            self._disk.close(self._data_fd)
            self._disk.close(self._index_fd)
        self._users = -1

    def drop(self) -> None:
        """Removes the files; the bytes are gone for readers at once.

        Raises OSError if the disk still has them; the caller may call it again then.
        """
        self.forget()
        self._disk.unlink(self.data_path)
        self._disk.unlink(self._index_path)

    def free_bytes(self) -> int:
        """Free bytes of the segment's disk. Raises OSError."""
        return self._disk.free_bytes(self._data_fd)

    # Writing; the writer is a user.

    @property
    def reserved_bytes(self) -> int:
        """How many bytes can be appended even if the disk has no block left, in one run."""
        # Two entries: the run's, and the one that closes the segment.
        if self._index_reserve.left(self._entries * ENTRY_BYTES) < 2 * ENTRY_BYTES:
            return 0
        return self._data_reserve.left(self.end - self.start)

    def refill_reserve(self, free_bytes: int) -> None:
        """Fills the reserves of both files, if the disk's ``free_bytes`` are enough."""
        self._data_reserve.refill(self._data_fd, self.end - self.start, free_bytes)
        self._index_reserve.refill(self._index_fd, self._entries * ENTRY_BYTES, free_bytes)

    def find_reserve(self) -> None:
        """Finds the reserves that an earlier server has left."""
        self._data_reserve.find(self._data_fd, self.end - self.start)
        self._index_reserve.find(self._index_fd, self._entries * ENTRY_BYTES)

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
        sizes = self.end - self.start, self._entries * ENTRY_BYTES
        reserves = self._data_reserve, self._index_reserve
        return any(reserve.left(size) for reserve, size in zip(reserves, sizes, strict=True))

    def free_reserve(self) -> None:
        """Frees the blocks ahead of both files, once no more bytes come.

        The caller need not be a user. Call it in a thread, because a disk that is informed of each
        free block takes milliseconds. It goes by the files' sizes on the disk and not by ``end``,
        because a file that was cut must not grow.
        """
        for path in (self.data_path, self._index_path):
            with contextlib.suppress(OSError):
                fd = self._disk.open(path)
                try:
                    self._disk.trim(fd, self._disk.size(path))
                finally:
                    self._disk.close(fd)
        self._data_reserve.forget()
        self._index_reserve.forget()

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
            self._write_entry(entry)
        moved = self._disk.splice(pipe_fd, self._data_fd, count, self.end - self.start)
        if moved and entry is not None:
            self._last = entry
            self._entries += 1
        self.end += moved
        return moved

    def close(self) -> None:
        """Writes the closing entry, so that a later cut is detected. Raises OSError."""
        self._write_entry(Entry(self.end, 0, CLOSING))

    def _write_entry(self, entry: Entry) -> None:
        data = entry.encode()
        written = self._disk.write(self._index_fd, data, self._entries * ENTRY_BYTES)
        if written != len(data):
            raise OSError(28, "No space left on device", self._index_path)

    # Reading; the reader is a user.

    def read(self, offset: int, count: int) -> bytes:
        """At most ``count`` bytes from ``offset`` on; fewer at the end. Raises OSError."""
        return self._disk.read(self._data_fd, count, offset - self.start)

    def locate(self, offset: int, position: int) -> Run:
        """The run that holds ``offset``, which is in [start, end). Raises OSError.

        ``position`` is that of the last run looked up, 0 at first; it spares the search.
        """
        entries = self._entries
        if position < entries:
            here = self._entry(position)
            if here is not None and here.offset <= offset:
                run = self._run(here, position)
                if offset == run.end and position + 1 < entries:
                    following = self._entry(position + 1)
                    if following is not None:
                        run = self._run(following, position + 1)
                if offset < run.end:
                    return run
        low, high = 0, entries  # entry(low) <= offset < entry(high)
        while low + 1 < high:
            middle = (low + high) // 2
            entry, middle = self._whole_entry(middle, high)
            if entry is not None and entry.offset <= offset:
                low = middle
            else:
                high = (low + high) // 2
        entry = self._entry(low) if entries else None
        if entry is None or entry.offset > offset:
            following, _ = self._whole_entry(low, entries)
            end = self.end if following is None or following.offset <= offset else following.offset
            return Run(None, 0, min(end, self.end), low)
        run = self._run(entry, low)
        if offset >= run.end:  # what is behind it is damaged
            following, _ = self._whole_entry(low + 1, entries)
            end = self.end if following is None else min(following.offset, self.end)
            return Run(None, 0, end, low)
        return run

    def offset_at(self, time_ns: int) -> int | None:
        """The offset of the first run from ``time_ns`` or later; None: all are earlier. OSError."""
        self.acquire()
        try:
            low, high = 0, self._entries
            while low < high:
                middle = (low + high) // 2
                entry, at = self._whole_entry(middle, high)
                if entry is not None and entry.time_ns < time_ns:
                    low = at + 1
                else:
                    high = middle
            entry, _ = self._whole_entry(low, self._entries)
            return None if entry is None else entry.offset
        finally:
            self.release()

    def _run(self, entry: Entry, position: int) -> Run:
        """The run of a whole entry. It counts as empty if the next entry is damaged, because its
        end is unknown then."""
        stream: StreamNumber = 1 if entry.stream == 1 else 2
        if position + 1 >= self._entries:
            end = self.end if self._end_known else entry.offset
            return Run(stream, entry.time_ns, end, position)
        following = self._entry(position + 1)
        end = entry.offset if following is None else min(following.offset, self.end)
        return Run(stream, entry.time_ns, end, position)

    def _entry(self, position: int) -> Entry | None:
        at = position * ENTRY_BYTES
        return decode(self._disk.read(self._index_fd, ENTRY_BYTES, at))

    def _whole_entry(self, position: int, end: int) -> tuple[Entry | None, int]:
        """The first whole entry from ``position`` on, below ``end``, and its position."""
        entry = self._entry(position) if position < end else None
        if entry is not None or position >= end:
            return entry, position
        count = min(end - position, _LOOK_AHEAD)
        data = self._disk.read(self._index_fd, count * ENTRY_BYTES, position * ENTRY_BYTES)
        for number in range(1, len(data) // ENTRY_BYTES):
            entry = decode(data[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES])
            if entry is not None:
                return entry, position + number
        return None, end

    # Recovery.

    def recover(self, *, closed: bool) -> None:
        """Finds ``end`` from the files. ``closed``: its server should have closed it. OSError.

        Bytes beyond a closing entry never counted. Where that entry is missing although it should
        exist, the index was cut, so it is unknown how far the last run goes.
        """
        self.end = self.start + self._disk.size(self.data_path)
        self._entries, torn = divmod(self._disk.size(self._index_path), ENTRY_BYTES)
        if torn:
            self._end_known = False  # because a run has begun there, as where an entry is damaged
        self.acquire()
        try:
            last = self._trim()
        finally:
            self.release()
        if last is not None and last.stream == CLOSING:
            self.end = min(self.end, last.offset)
        else:
            self._last = last
            self._end_known = self._end_known and not closed

    def _trim(self) -> Entry | None:
        """Takes back entries without bytes, which a kill has left; returns the last entry left."""
        last = None
        while self._entries:
            last = self._entry(self._entries - 1)
            if last is not None and last.stream != CLOSING and last.offset < self.end:
                return last
            self._entries -= 1
            if last is None:
                self._end_known = False  # because a run of an unknown stream has begun
            elif last.stream == CLOSING:
                return last
        return None
