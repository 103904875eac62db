"""The directory of the supervisor's socket: made, locked, and made again when it was removed.

A cleaner of temporary files, or an operator that tidies up /run, can remove it under a running
supervisor: the server that is connected continues, but the next one would find no socket. So each
time before a server is started the supervisor looks whether the path still leads to its own socket.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Collection
from typing import Final

from ...policy.configuration import Config
from ..logs.supervisor_log import log
from ..users.user_names import User

SOCKET_NAME: Final = "supervisor.sock"
CONTROL_NAME: Final = "control.sock"
LOCK_NAME: Final = "supervisor.lock"
_OURS: Final = {SOCKET_NAME, CONTROL_NAME, LOCK_NAME}


def directory_mistakes(
    path: str, status: os.stat_result, uid: int, names: Collection[str] | None = None
) -> list[str]:
    """Why what is there cannot be penstockd's, whose user is ``uid``. Raises OSError.

    ``names``: what is in it, if the caller knows that better than by looking.
    """
    mistakes = []
    if not stat.S_ISDIR(status.st_mode):
        return [f"run_dir: {path} is no directory; remove it"]
    if status.st_uid != uid:
        mistakes.append(f"run_dir: {path} belongs to user {status.st_uid}; name another")
    elif status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        mistakes.append(f"run_dir: {path} can be written by others; chmod go-w")
    # Mode and group are about to be changed, so it must not be a directory of others like /run.
    strangers = set(os.listdir(path) if names is None else names) - _OURS
    if strangers:
        mistakes.append(
            f"run_dir: {path} holds {min(strangers)!r}; name a directory for penstockd alone"
        )
    return mistakes


class RunDirectory:
    """``run_dir`` of a configuration, held by a lock as long as this process lives."""

    def __init__(self, config: Config, server_user: User, *, root: bool) -> None:
        self._path = config.run_dir
        self._gid = server_user.gid if root else None
        self._lock_fd = -1

    @property
    def socket_path(self) -> str:
        """The path of the socket to which servers connect."""
        return os.path.join(self._path, SOCKET_NAME)

    @property
    def control_path(self) -> str:
        """The path of the socket on which the operator's commands ask."""
        return os.path.join(self._path, CONTROL_NAME)

    def make(self) -> list[str]:
        """Makes it, or checks the one that is there. Returns mistakes for people, none if it can be
        used. Raises OSError."""
        with contextlib.suppress(FileExistsError):
            os.makedirs(self._path, mode=0o750)
        status = os.lstat(self._path) if self._lock_fd >= 0 else os.stat(self._path)
        return directory_mistakes(self._path, status, os.geteuid())

    def give(self) -> None:
        """Lets the server's group in, and no other user. Raises OSError."""
        if self._gid is not None:
            os.chown(self._path, 0, self._gid)
        os.chmod(self._path, 0o750)

    def lock(self) -> bool:
        """Locks it for as long as this process lives. False: another penstockd holds the lock.
        Raises OSError."""
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
        """Whether the path still leads to the lock file that this process holds. A file that was
        made anew is locked by no process."""
        return _is_same(os.path.join(self._path, LOCK_NAME), os.fstat(self._lock_fd))

    def make_again(self) -> bool:
        """Call it after ``is_ours`` was false, or the socket was gone; whether it can be used now.
        Logs what it finds instead of raising, because the next try may succeed."""
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
