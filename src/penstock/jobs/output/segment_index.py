"""The index of one segment: which run, of which stream and time, each byte belongs to.

The file has one entry of fixed size for each run, in the order of the log. segment.py says what a
run is, how entries and bytes are written one after the other, and what a kill between the two
leaves; docs/output.md has the format byte for byte. An entry may be torn or fail its CRC, by a disk
or an administrator: then a run has begun at an unknown place, so the one before it may be shorter
than it seems, and its bytes count as damaged instead of being given as another stream's.

The segment owns the index and tells it where its bytes end, which is where the last run does.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final, Literal

from .disk import Disk
from .preallocation import Reserve

StreamNumber = Literal[1, 2]  # stdout, stderr

_HEAD: Final = struct.Struct("<QQB")  # offset, time_ns, stream
ENTRY_BYTES: Final = _HEAD.size + 4  # and the CRC-32 of what is before it
CLOSING: Final = 0  # in place of the stream: no run begins here, because the segment ends
# How many entries behind a damaged one are searched for one that is whole.
_LOOK_AHEAD: Final = 4096


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


class SegmentIndex:
    """The entries of one segment. Its file is open while the segment has users."""

    __slots__ = ("_disk", "_fd", "_reserve", "count", "end_known", "path")  # a job may have many

    def __init__(self, disk: Disk, path: str, ahead_bytes: int) -> None:
        """``ahead_bytes`` is how many bytes of blocks the file gets before it has bytes for
        them."""
        self.path = path
        self.count = 0
        """How many entries count: the next one is written behind them."""
        self.end_known = True
        """Whether the last run is certain to go as far as the segment's bytes do."""
        self._disk = disk
        self._fd = -1
        self._reserve = Reserve(disk, ahead_bytes)

    @property
    def size(self) -> int:
        """Bytes of the entries that count."""
        return self.count * ENTRY_BYTES

    # The file.

    def open(self, *, create: bool = False) -> None:
        """Opens the file, or makes it. Raises OSError."""
        self._fd = self._disk.open(self.path, create=create)

    def close(self) -> None:
        """Closes the file, which must be open."""
        self._disk.close(self._fd)

    def write(self, entry: Entry) -> None:
        """Writes an entry behind those that count; it counts once ``count`` says so.

        Raises OSError.
        """
        data = entry.encode()
        written = self._disk.write(self._fd, data, self.size)
        if written != len(data):
            raise OSError(28, "No space left on device", self.path)

    # Blocks ahead.

    @property
    def reserved_entries(self) -> int:
        """How many entries can be written even if the disk has no block left."""
        return self.reserved_bytes // ENTRY_BYTES

    @property
    def reserved_bytes(self) -> int:
        """The blocks ahead that were not given back, in bytes."""
        return self._reserve.left(self.size)

    def refill_reserve(self, free_bytes: int) -> None:
        """Fills the reserve, if the disk's ``free_bytes`` are enough."""
        self._reserve.refill(self._fd, self.size, free_bytes)

    def find_reserve(self) -> None:
        """Finds the reserve that an earlier server has left."""
        self._reserve.find(self._fd, self.size)

    def forget_reserve(self) -> None:
        """The file has no blocks ahead any more."""
        self._reserve.forget()

    # Looking up; the file is open.

    def locate(self, offset: int, position: int, end: int) -> Run:
        """The run that holds ``offset``, which is below the segment's ``end``. Raises OSError.

        ``position`` is that of the last run looked up, 0 at first; it spares the search.
        """
        count = self.count
        if position < count:
            here = self._entry(position)
            if here is not None and here.offset <= offset:
                run = self._run(here, position, end)
                if offset == run.end and position + 1 < count:
                    following = self._entry(position + 1)
                    if following is not None:
                        run = self._run(following, position + 1, end)
                if offset < run.end:
                    return run
        low, high = 0, count  # entry(low) <= offset < entry(high)
        while low + 1 < high:
            middle = (low + high) // 2
            entry, middle = self._whole_entry(middle, high)
            if entry is not None and entry.offset <= offset:
                low = middle
            else:
                high = (low + high) // 2
        entry = self._entry(low) if count else None
        if entry is None or entry.offset > offset:
            following, _ = self._whole_entry(low, count)
            known = end if following is None or following.offset <= offset else following.offset
            return Run(None, 0, min(known, end), low)
        run = self._run(entry, low, end)
        if offset >= run.end:  # what is behind it is damaged
            following, _ = self._whole_entry(low + 1, count)
            return Run(None, 0, end if following is None else min(following.offset, end), low)
        return run

    def offset_at(self, time_ns: int) -> int | None:
        """The offset of the first run from ``time_ns`` or later; None: all are earlier. OSError."""
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            entry, at = self._whole_entry(middle, high)
            if entry is not None and entry.time_ns < time_ns:
                low = at + 1
            else:
                high = middle
        entry, _ = self._whole_entry(low, self.count)
        return None if entry is None else entry.offset

    def _run(self, entry: Entry, position: int, end: int) -> Run:
        """The run of a whole entry. It counts as empty if the next entry is damaged, because its
        end is unknown then."""
        stream: StreamNumber = 1 if entry.stream == 1 else 2
        if position + 1 >= self.count:
            return Run(stream, entry.time_ns, end if self.end_known else entry.offset, position)
        following = self._entry(position + 1)
        end = entry.offset if following is None else min(following.offset, end)
        return Run(stream, entry.time_ns, end, position)

    def _entry(self, position: int) -> Entry | None:
        return decode(self._disk.read(self._fd, ENTRY_BYTES, position * ENTRY_BYTES))

    def _whole_entry(self, position: int, end: int) -> tuple[Entry | None, int]:
        """The first whole entry from ``position`` on, below ``end``, and its position."""
        entry = self._entry(position) if position < end else None
        if entry is not None or position >= end:
            return entry, position
        count = min(end - position, _LOOK_AHEAD)
        data = self._disk.read(self._fd, count * ENTRY_BYTES, position * ENTRY_BYTES)
        for number in range(1, len(data) // ENTRY_BYTES):
            entry = decode(data[number * ENTRY_BYTES : (number + 1) * ENTRY_BYTES])
            if entry is not None:
                return entry, position + number
        return None, end

    # Recovery.

    def recover(self) -> None:
        """Finds ``count`` from the file's size. Raises OSError."""
        self.count, torn = divmod(self._disk.size(self.path), ENTRY_BYTES)
        if torn:
            self.end_known = False  # because a run has begun there, as where an entry is damaged

    def take_back(self, end: int) -> Entry | None:
        """Takes back entries without bytes below ``end``, which a kill has left; returns the last
        entry left, or the closing one. The file is open. Raises OSError."""
        last = None
        while self.count:
            last = self._entry(self.count - 1)
            if last is not None and last.stream != CLOSING and last.offset < end:
                return last
            self.count -= 1
            if last is None:
                self.end_known = False  # because a run of an unknown stream has begun
            elif last.stream == CLOSING:
                return last
        return None
