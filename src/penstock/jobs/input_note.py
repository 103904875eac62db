"""How much of a job's input was accepted, and of whom: one small file in the job's directory.

A note survives SIGKILL of all our processes. A crash of the machine ends the job, too.
"""

import hashlib
import os
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from .output.disk import Disk

NOTE_NAME: Final = "input"
_BODY: Final = struct.Struct("<BQQ")  # phase, accepted, sender
_BODY_BEFORE: Final = struct.Struct("<BQ")  # of earlier versions: phase, accepted
_CRC: Final = struct.Struct("<I")
NOBODY: Final = 0


class Phase(IntEnum):
    """What the note's number says."""

    WRITING = 1  # so much was accepted, and moved on; what our pipe holds came after it
    ACCEPTED = 2  # so much is accepted
    ENDED = 3  # as before, and then the end


@dataclass(frozen=True, slots=True)
class Written:
    """What a note says. ``sender``: whose the last of it was (sender_number), NOBODY if that is
    not known, or nothing was accepted yet."""

    phase: Phase = Phase.ACCEPTED
    accepted: int = 0
    sender: int = NOBODY


def read_note(directory: str, disk: Disk) -> Written:
    """Of a job that nobody holds any more; nothing where there is none that can be read."""
    try:
        note = Note(directory, disk)
    except OSError:
        return Written()
    try:
        return note.read()
    except (OSError, ValueError):
        return Written()
    finally:
        note.close()


def sender_number(name: str) -> int:
    """What a note has of a sender's name; never NOBODY."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


class Note:
    """The file. Raises OSError; ValueError if it holds something else."""

    def __init__(self, directory: str, disk: Disk) -> None:
        path = os.path.join(directory, NOTE_NAME)
        self._disk = disk
        try:
            self._fd = disk.open(path)
        except FileNotFoundError:
            self._fd = disk.open(path, create=True)

    def read(self) -> Written:
        """As it was written last; an empty one is a job's that was never sent anything."""
        data = self._disk.read(self._fd, _BODY.size + _CRC.size, 0)
        if not data:
            self.write(Written())  # its place on the disk is taken from now on
            return Written()
        body, check = data[: -_CRC.size], data[-_CRC.size :]
        if check != _CRC.pack(zlib.crc32(body)):
            raise ValueError("it is damaged")
        if len(body) == _BODY_BEFORE.size:
            phase, accepted = _BODY_BEFORE.unpack(body)
            return Written(Phase(phase), accepted)
        phase, accepted, sender = _BODY.unpack(body)
        return Written(Phase(phase), accepted, sender)

    def write(self, written: Written) -> None:
        """Within one page, so a kill leaves the old one or the new one."""
        body = _BODY.pack(written.phase, written.accepted, written.sender)
        self._disk.write(self._fd, body + _CRC.pack(zlib.crc32(body)), 0)

    def close(self) -> None:
        """Frees the descriptor."""
        self._disk.close(self._fd)
