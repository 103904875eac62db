"""How much of a job's input was accepted, and from which sender: a small file beside its output.

A note survives SIGKILL of server and supervisor. It need not survive a crash of the machine,
because that ends the job, too.
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
    """How far the writing of the note and of the server's pipe has come."""

    WRITING = 1  # so much was accepted, and moved on; what our pipe holds came after it
    ACCEPTED = 2  # so much is accepted
    ENDED = 3  # as before, and then the end


@dataclass(frozen=True, slots=True)
class Written:
    """One state of the note. ``accepted`` is in bytes; ``sender`` is the one that sent the last of
    them (sender_number), NOBODY if that is not known, or nothing was accepted yet."""

    phase: Phase = Phase.ACCEPTED
    accepted: int = 0
    sender: int = NOBODY


def read_note(directory: str, disk: Disk) -> Written:
    """The note of a job that neither server nor supervisor holds any more; an empty one, instead
    of an error, where there is none that can be read."""
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
    """The number by which a note names this sender: 64 bits of a hash; never NOBODY."""
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
        """As it was written last; an empty file is that of a job to which no input was sent."""
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
        """Within one page, so that a kill leaves either the old note or the new one."""
        body = _BODY.pack(written.phase, written.accepted, written.sender)
        self._disk.write(self._fd, body + _CRC.pack(zlib.crc32(body)), 0)

    def close(self) -> None:
        """Frees the descriptor; the file stays, for the next server."""
        self._disk.close(self._fd)
