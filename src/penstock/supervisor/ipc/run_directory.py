"""The directory of the supervisor's socket: made, locked, and made again when somebody removes it.

A cleaner of temporary files, or somebody who tidies up /run, takes the way to the supervisor from
every server to come: the one that is connected goes on, and the next finds no socket. So each time
before a server is started the supervisor looks whether the socket's path still leads to its own.
"""

import contextlib
import fcntl
import os
import stat
from typing import Final

from ...policy.configuration import Config
from ..logs.supervisor_log import log
from ..users.user_names import User

SOCKET_NAME: Final = "supervisor.sock"
LOCK_NAME: Final = "supervisor.lock"


class RunDirectory:
    """``run_dir`` of a configuration, held by a lock as long as this process lives."""

    def __init__(self, config: Config, server_user: User, *, root: bool) -> None:
        self._path = config.run_dir
        self._gid = server_user.gid if root else None
        self._lock_fd = -1

    @property
    def socket_path(self) -> str:
        """Where servers connect."""
        return os.path.join(self._path, SOCKET_NAME)

    def make(self) -> list[str]:
        """Makes it, or checks what is there; mistakes for people. Raises OSError."""
        mistakes = []
        with contextlib.suppress(FileExistsError):
            os.makedirs(self._path, mode=0o750)
        status = os.lstat(self._path) if self._lock_fd >= 0 else os.stat(self._path)
        if not stat.S_ISDIR(status.st_mode):
            return [f"run_dir: {self._path} is no directory; remove it"]
        if status.st_uid != os.geteuid():
            mistakes.append(f"run_dir: {self._path} belongs to user {status.st_uid}; name another")
        elif status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            mistakes.append(f"run_dir: {self._path} can be written by others; chmod go-w")
        # Its mode and group are about to be changed, which one like /run would not survive.
        strangers = set(os.listdir(self._path)) - {SOCKET_NAME, LOCK_NAME}
        if strangers:
            mistakes.append(
                f"run_dir: {self._path} holds {min(strangers)!r}; "
                "name a directory for penstockd alone"
            )
        return mistakes

    def give(self) -> None:
        """To the server's group, and to nobody else. Raises OSError."""
        if self._gid is not None:
            os.chown(self._path, 0, self._gid)
        os.chmod(self._path, 0o750)

    def lock(self) -> bool:
        """False: another penstockd has it. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(os.path.join(self._path, LOCK_NAME), flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
        self._lock_fd = fd
        return True

    def is_ours(self) -> bool:
        """Whether the directory still has our lock. Another would be no lock of anybody's."""
        return _is_same(os.path.join(self._path, LOCK_NAME), os.fstat(self._lock_fd))

    def make_again(self) -> bool:
        """After ``is_ours`` was false, or the socket was gone; whether it can be used. Says what it
        finds, and never raises: the next try may succeed."""
        try:
            mistakes = self.make()
            if not mistakes:
                self.give()
                if self.is_ours() or self.lock():
                    return True
                mistakes = [f"run_dir: another penstockd uses {self._path}; stop that one"]
        except OSError as error:
            mistakes = [f"run_dir: {self._path}: {error.strerror}"]
        for mistake in mistakes:
            log(f"{mistake}. Until then no server can connect; jobs run on")
        return False


def _is_same(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), status)
    except OSError:
        return False
