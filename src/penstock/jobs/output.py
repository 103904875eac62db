"""A job's output on disk: the one truth that every reader reads.

``output`` holds the bytes, ``index`` where each run of one stream begins and when it was
written. docs/output.md has the format byte for byte.
"""

import hashlib
import os
import struct
import time
import zlib
from dataclasses import dataclass
from typing import Final, Literal

import trio

from .errors import OffsetPastEnd

StreamNumber = Literal[1, 2]  # stdout, stderr

ENTRY: Final = struct.Struct("<QQBI")  # offset, time_ns, stream, crc32 of what is before it
_HEAD: Final = struct.Struct("<QQB")
# One byte at a time would else make an index of 21 bytes for each of them.
MERGE_NS: Final = 5_000_000
SPLICE_BYTES: Final = 256 * 1024
CHUNK_BYTES: Final = 64 * 1024
# Output must not take the last of the disk: the end records of the jobs that it stops have
# to be written there too.
RESERVE_BYTES: Final = 4 * 1024 * 1024
_HASH_BYTES: Final = 1024 * 1024
# sys/splice.h: do not wait for the pipe. The file side never waits longer than a write.
_SPLICE_F_NONBLOCK: Final = 2


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive bytes of one stream. ``time_ns``: UTC, when their run began."""

    stream: StreamNumber
    offset: int
    time_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """A run of bytes of one stream; it ends where the next begins, or at the file's end."""

    offset: int
    time_ns: int
    stream: StreamNumber


class OutputLog:
    """An append-only log. Appending and reading never wait but for the disk.

    The files are opened when they are needed and closed when the log has ended and the
    last reader is gone, so finished jobs cost no descriptors.
    """

    def __init__(self, directory: str) -> None:
        """An existing log in ``directory``, or the place for a new one (see create)."""
        self._output_path = os.path.join(directory, "output")
        self._index_path = os.path.join(directory, "index")
        self._output_fd = -1
        self._index_fd = -1
        self._users = 0
        self._entries = 0
        self._last: Entry | None = None
        self._wakers: set[trio.MemorySendChannel[None]] = set()
        self.length = 0
        self.ended = True

    @classmethod
    def create(cls, directory: str) -> "OutputLog":
        """A new, empty log that is open for appending. Raises OSError."""
        os.makedirs(directory, mode=0o700)
        log = cls(directory)
        log.ended = False
        log.acquire(os.O_CREAT | os.O_EXCL)
        return log

    @classmethod
    def load(cls, directory: str) -> "OutputLog":
        """The log of a job that has ended; an empty one if it is gone."""
        log = cls(directory)
        try:
            log.length = os.stat(log._output_path).st_size
            log._entries = os.stat(log._index_path).st_size // ENTRY.size
        except FileNotFoundError:
            log.length = log._entries = 0
        return log

    def acquire(self, flags: int = 0) -> None:
        """Opens the files for one more user; pair with release. Raises OSError."""
        if self._users == 0:
            mode = os.O_RDWR | os.O_CLOEXEC | flags
            self._output_fd = os.open(self._output_path, mode, 0o600)
            try:
                self._index_fd = os.open(self._index_path, mode, 0o600)
            except OSError:
                os.close(self._output_fd)
                raise
        self._users += 1

    def release(self) -> None:
        """One user less; the last one closes the files."""
        self._users -= 1
        if self._users == 0:
            os.close(self._output_fd)
            os.close(self._index_fd)

    def move(self, pipe_fd: int, stream: StreamNumber) -> int:
        """Moves what the pipe has, at most SPLICE_BYTES, to the log's end; 0 at end of file.

        The bytes never pass through this process. Raises BlockingIOError if the pipe is
        empty now, OSError if the disk does not take them or has less than RESERVE_BYTES
        left (they stay in the pipe).
        """
        disk = os.fstatvfs(self._output_fd)
        if disk.f_bavail * disk.f_frsize < RESERVE_BYTES:
            raise OSError(28, "No space left on device", self._output_path)
        entry = self._entry_for(stream)
        if entry is not self._last:
            # Before its bytes, so that bytes without an entry cannot be. If none come, the
            # next entry takes its place.
            head = _HEAD.pack(entry.offset, entry.time_ns, entry.stream)
            data = head + zlib.crc32(head).to_bytes(4, "little")
            if os.pwrite(self._index_fd, data, self._entries * ENTRY.size) != ENTRY.size:
                raise OSError(28, "No space left on device", self._index_path)
        moved = os.splice(
            pipe_fd,
            self._output_fd,
            SPLICE_BYTES,
            offset_dst=self.length,
            flags=_SPLICE_F_NONBLOCK,
        )
        if moved and entry is not self._last:
            self._last = entry
            self._entries += 1
        self.length += moved
        return moved

    def _entry_for(self, stream: StreamNumber) -> Entry:
        now_ns = time.time_ns()
        last = self._last
        if last is not None and last.stream == stream and 0 <= now_ns - last.time_ns < MERGE_NS:
            return last
        return Entry(self.length, now_ns, stream)

    def read(self, offset: int, position: int) -> tuple[Chunk, int]:
        """The chunk at ``offset`` (below length) and the index position it came from.

        ``position`` is what the last read gave, 0 for the first: it spares the search.
        """
        entry, position, end = self._locate(offset, position)
        data = os.pread(self._output_fd, min(CHUNK_BYTES, end - offset), offset)
        if not data:
            raise OSError(5, "the log is shorter than it was", self._output_path)
        return Chunk(entry.stream, offset, entry.time_ns, data), position

    def _locate(self, offset: int, position: int) -> tuple[Entry, int, int]:
        """The entry that holds ``offset``, its position, and where its bytes end."""
        low, high = 0, self._entries
        if position < high:
            here = self._entry(position)
            following = self._entry(position + 1).offset if position + 1 < high else self.length
            if here.offset <= offset < following:
                return here, position, following
            if offset == following and position + 1 < high:
                low = position + 1
        while low + 1 < high:
            middle = (low + high) // 2
            if self._entry(middle).offset <= offset:
                low = middle
            else:
                high = middle
        end = self._entry(low + 1).offset if low + 1 < self._entries else self.length
        return self._entry(low), low, end

    def _entry(self, position: int) -> Entry:
        data = os.pread(self._index_fd, ENTRY.size, position * ENTRY.size)
        offset, time_ns, stream, crc = ENTRY.unpack(data)
        if zlib.crc32(data[: _HEAD.size]) != crc:
            raise OSError(5, f"index entry {position} is damaged", self._index_path)
        return Entry(offset, time_ns, 1 if stream == 1 else 2)

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

    def finish(self) -> None:
        """No more bytes will come: readers end after the last one."""
        self.ended = True
        self.notify()
        self.release()

    def subscribe(self) -> tuple[trio.MemorySendChannel[None], trio.MemoryReceiveChannel[None]]:
        """A reader's wake-ups, capacity 1; pair with unsubscribe."""
        send, receive = trio.open_memory_channel[None](1)
        self._wakers.add(send)
        return send, receive

    def unsubscribe(self, waker: trio.MemorySendChannel[None]) -> None:
        """The reader is gone."""
        self._wakers.discard(waker)

    def statistics(self) -> dict[str, int]:
        """readers, entries and length, for tests and for the curious."""
        return {"readers": len(self._wakers), "entries": self._entries, "length": self.length}

    def sha256(self) -> str:
        """Of all bytes, in hexadecimal. Reads the whole file: call it in a thread."""
        digest = hashlib.sha256()
        offset = 0
        while data := os.pread(self._output_fd, _HASH_BYTES, offset):
            digest.update(data)
            offset += len(data)
        return digest.hexdigest()

    def check_offset(self, offset: int) -> None:
        """Raises OffsetPastEnd for bytes that have not been produced."""
        if offset > self.length:
            raise OffsetPastEnd(offset, self.length)
