"""A server of an earlier life that has not ended: it has the records, and the port.

A server ends when it sees that its supervisor is gone. One that stands still (SIGSTOP) does not see
it, and keeps the lock of the state directory and the listening sockets, so that the next server
could neither open the records nor be reached. So the next penstockd, before it listens, waits for
it as long as it would wait for its own server to answer, and then kills it. The next server records
what became of the jobs.
"""

import contextlib
import os
import select
import signal
from typing import Final

from ..policy.configuration import Config
from .logs.supervisor_log import log
from .users.user_names import User

_PROGRAM: Final = b"penstock.server"
# How long its end is waited for after KILL. In an uninterruptible sleep it takes longer; then the
# start fails, and the lock says why.
_KILLED_S: Final = 2.0


def end(config: Config, user: User) -> None:
    """Ends such a server, if there is one. ``user`` is the one that all servers run as.

    Waits for server_silence_s and _KILLED_S at most, and returns then whether or not it has ended.
    The caller holds the locks of run_dir and work_root, so the server has no supervisor any more.
    """
    lock = os.path.join(config.state_dir, "lock")
    pid = holder(lock)
    try:
        fd = os.pidfd_open(pid) if pid else -1
    except OSError:  # it has just ended
        return
    if fd < 0:
        return
    try:
        # The holder is looked at again, because the pid may have been reused before the pidfd was
        # opened; from here on the descriptor means the process that has the lock.
        if holder(lock) != pid or not _is_server(pid, user.uid):
            return
        if not _has_ended(fd, config.server_silence_s):
            log(
                f"process {pid}, a server of an earlier life, holds {config.state_dir} and has not "
                f"ended in {config.server_silence_s:g} s: it is killed"
            )
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
            _has_ended(fd, _KILLED_S)
    finally:
        os.close(fd)


def _has_ended(fd: int, within_s: float) -> bool:
    return bool(select.select([fd], [], [], within_s)[0])


def holder(path: str) -> int:
    """Pid of the process that has locked this file by flock(2), as /proc/locks (proc(5)) has it.

    0: there is none, or it cannot be known.
    """
    try:
        status = os.stat(path)
        with open("/proc/locks", encoding="ascii") as file:
            return holder_by(file.read(), status.st_dev, status.st_ino)
    except OSError:
        return 0


def holder_by(locks: str, device: int, inode: int) -> int:
    """The same, by the text of /proc/locks (pure)."""
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    for line in locks.splitlines():
        # 1: FLOCK ADVISORY WRITE pid major:minor:inode start end; a waiter's line begins with "->".
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5] == wanted:
            return max(0, int(fields[4]))
    return 0


def _is_server(pid: int, uid: int) -> bool:
    """Is it a server of penstock, by its user and its command line?"""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        return os.stat(f"/proc/{pid}").st_uid == uid and _PROGRAM in words
    except OSError:
        return False
