"""Gaps: bytes that a job has produced and the log lacks, with the reason, kept on disk."""

import os
import struct
import zlib
from dataclasses import dataclass, replace
from typing import Final, Literal

from .disk import Disk

# retention: the oldest bytes made room for newer ones, or the job was removed. quota: a bound was
# reached. disk: the disk was full, or failed. damaged: written, but not readable any more.
GapReason = Literal["retention", "quota", "disk", "damaged"]
_CODES: Final[dict[GapReason, int]] = {"retention": 1, "quota": 2, "disk": 3, "damaged": 4}
_REASONS: Final = {code: reason for reason, code in _CODES.items()}
_HEAD: Final = struct.Struct("<QQB")  # from, to, reason
_RECORD_BYTES: Final = _HEAD.size + 4  # and the CRC-32 of what is before it


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes [start, end) of a job's output that the log lacks, and why."""

    start: int
    end: int
    reason: GapReason


class GapFile:
    """The file of the gaps that a log has made by refusing bytes; only the last one can grow."""

    def __init__(self, disk: Disk, directory: str) -> None:
        self.gaps: list[Gap] = []
        self._disk = disk
        self._path = os.path.join(directory, "gaps")
        self._records = 0  # unreadable ones included, so that none is overwritten

    def load(self) -> None:
        """Reads the gaps that an earlier server has recorded. Raises OSError."""
        size = self._disk.size(self._path)
        if not size:
            return
        fd = self._disk.open(self._path)
        try:
            data = self._disk.read(fd, size, 0)
        finally:
            self._disk.close(fd)
        self._records = -(-len(data) // _RECORD_BYTES)
        for at in range(0, len(data) - _RECORD_BYTES + 1, _RECORD_BYTES):
            record = data[at : at + _RECORD_BYTES]
            head, crc = record[: _HEAD.size], int.from_bytes(record[_HEAD.size :], "little")
            start, end, code = _HEAD.unpack(head)
            if zlib.crc32(head) == crc and code in _REASONS:
                self.gaps.append(Gap(start, end, _REASONS[code]))

    def begin(self, offset: int, reason: GapReason) -> None:
        """Begins a gap, and records it before the caller discards the first byte.

        If the disk refuses even that, the gap counts in this process alone and is not known after a
        restart, because a broken disk must not stop the job.
        """
        self.gaps.append(Gap(offset, offset, reason))
        self._records += 1
        self._save()

    def grow(self, count: int) -> None:
        """Extends the last gap by ``count`` discarded bytes."""
        self.gaps[-1] = replace(self.gaps[-1], end=self.gaps[-1].end + count)
        self._save()

    def _save(self) -> None:
        gap = self.gaps[-1]
        head = _HEAD.pack(gap.start, gap.end, _CODES[gap.reason])
        record = head + zlib.crc32(head).to_bytes(4, "little")
        try:
            fd = self._open()
            try:
                self._disk.write(fd, record, (self._records - 1) * _RECORD_BYTES)
            finally:
                self._disk.close(fd)
        except OSError:
            return  # see begin

    def _open(self) -> int:
        try:
            return self._disk.open(self._path)
        except FileNotFoundError:
            return self._disk.open(self._path, create=True)
