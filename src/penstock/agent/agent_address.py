"""Where an agent listens: which socket, in which directory, and what must be true of both."""

import contextlib
import os
import re
import socket
import stat
import struct
from pathlib import Path
from typing import Final

from .agent_locks import AgentLocks

DEFAULT_NAME: Final = "default"
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,63}", re.ASCII)
_KIND: Final = re.compile(r"[0-9a-f]{8}", re.ASCII)
_BACKLOG: Final = 128
_LONGEST: Final = 107
"""Bytes of a socket's path, as the kernel has it (sun_path), without the NUL behind it."""
MOST_AGENTS: Final = 8
"""Of one user, whatever context and kind they are of: each holds 45 MB."""


class PlaceError(Exception):
    """There is no place for an agent; the text says why."""


class PlaceTaken(PlaceError):
    """Another agent has it."""


class AgentAddress:
    """Of the agent of one context for one kind of front ends (``likeness.kind``): ``socket``,
    ``lock``, and ``log``, which is there only after something went wrong."""

    def __init__(self, runtime_directory: str, name: str, kind: str) -> None:
        """Raises PlaceError."""
        if not runtime_directory.startswith("/"):
            raise PlaceError(
                "XDG_RUNTIME_DIR is not set (to an absolute path), and an agent listens nowhere "
                "else; without one each verb runs by itself"
            )
        if not _NAME.fullmatch(name):
            raise PlaceError(f"{name!r} is no name of a context")
        if not _KIND.fullmatch(kind):
            raise PlaceError(f"{kind!r} is no kind of front ends")
        self.name = name
        self.kind = kind
        self.directory = Path(runtime_directory, "penstock")
        self.socket = self.directory / f"agent-{name}~{kind}.sock"
        self.lock = self.directory / f"agent-{name}~{kind}.lock"
        self.log = self.directory / f"agent-{name}~{kind}.log"
        if (size := len(os.fsencode(self.socket))) > _LONGEST:
            raise PlaceError(
                f"{self.socket} is {size} bytes long, and the name of a socket has at most "
                f"{_LONGEST}: set XDG_RUNTIME_DIR to a shorter one, or name the context shorter"
            )

    def of_every_kind(self) -> "list[AgentAddress]":
        """Where agents of this context may be: this place first, then each that has a socket."""
        begin = f"agent-{self.name}~"
        kinds = [path.stem.removeprefix(begin) for path in self.directory.glob(f"{begin}*.sock")]
        others = sorted({kind for kind in kinds if _KIND.fullmatch(kind)} - {self.kind})
        runtime = os.fspath(self.directory.parent)
        return [self, *(AgentAddress(runtime, self.name, kind) for kind in others)]

    @property
    def ours(self) -> bool:
        """Whether the directory is there, and this user's."""
        try:
            status = self.directory.lstat()
        except OSError:
            return False
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()

    def make_directory(self) -> None:
        """Makes the directory, for this user alone. Raises PlaceError if it is another user's, or
        others can enter it, and OSError."""
        # What root makes in another user's, as with sudo -E, would be in the way of that user's.
        if self.directory.parent.stat().st_uid != os.geteuid():
            raise PlaceError(f"{self.directory.parent} (XDG_RUNTIME_DIR) is another user's")
        with contextlib.suppress(FileExistsError):
            self.directory.mkdir(mode=0o700)
        if not self.ours:
            raise PlaceError(f"{self.directory} is not a directory of this user's")
        mode = stat.S_IMODE(self.directory.lstat().st_mode)
        if mode & 0o077:
            raise PlaceError(
                f"{self.directory} can be entered by others (mode {mode:04o}); "
                f"run: chmod 700 {self.directory}"
            )


class Listening:
    """The socket of the only agent of a place, which is this process until ``leave``."""

    def __init__(self, place: AgentAddress) -> None:
        """Takes the place; ``listen`` comes when front ends can be answered. Raises PlaceTaken if
        another agent has it, PlaceError, and OSError."""
        self._place = place
        place.make_directory()
        self._lock = _taken(place)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._is: tuple[int, int] | None = None

    def listen(self) -> None:
        """Front ends find it from now on. Raises OSError."""
        # Who has the lock is the only one: what is there is of one that has died.
        with contextlib.suppress(FileNotFoundError):
            self._place.socket.unlink()
        before = os.umask(0o177)
        try:
            self.socket.bind(os.fspath(self._place.socket))
        finally:
            os.umask(before)
        status = self._place.socket.lstat()
        self._is = (status.st_dev, status.st_ino)
        self.socket.listen(_BACKLOG)

    @property
    def in_place(self) -> bool:
        """Whether front ends still find it: not if it was removed, as with the directory at the
        user's last logout."""
        try:
            status = self._place.socket.lstat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._is

    def leave(self) -> None:
        """Front ends find it no more, and another agent may begin. Closes nothing else twice."""
        if self._lock < 0:
            return
        if self.in_place:
            with contextlib.suppress(OSError):
                self._place.socket.unlink()
        self.socket.close()
        os.close(self._lock)
        self._lock = -1


def _taken(place: AgentAddress) -> int:
    """The lock of that place. Raises PlaceTaken, PlaceError and OSError."""
    try:
        with AgentLocks(place.directory) as locks:
            if (lock := locks.take(place.lock)) is None:
                raise PlaceTaken(f"another agent listens on {place.socket}")
            if locks.clear_dead() >= MOST_AGENTS:
                os.close(lock)
                place.lock.unlink()
                raise PlaceError(
                    f"{MOST_AGENTS} agents run in {place.directory} already, and no more may; "
                    "one that is not used ends after 10 minutes, or by: penstock agent stop"
                )
            return lock
    except TimeoutError as error:
        raise PlaceError(str(error)) from None


def peer_uid(link: socket.socket) -> int:
    """The user at the other end, as the kernel has it from when it connected or listened."""
    return _peer(link)[1]


def peer_pid(link: socket.socket) -> int:
    """The process at the other end, as ``peer_uid``; 0 if it cannot be seen from here."""
    return _peer(link)[0]


def _peer(link: socket.socket) -> tuple[int, int]:
    size = struct.calcsize("3i")
    pid, uid, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(pid), int(uid)
