"""A server of an earlier life that has not ended: no other can open the records meanwhile.

A server ends when it sees that its supervisor is gone. One that stands still (SIGSTOP) does not see
it, and holds the lock of the state directory while the next penstockd starts one server after
another in vain. So the next one gives it as long as it gives its own to answer, and then kills it:
the next server records what became of its jobs.
"""

import contextlib
import os
import signal

from .child import ServerProcess
from .config import Config
from .log import log
from .loop import Loop
from .users import User

_PROGRAM = b"penstock.server"


def end_later(loop: Loop, config: Config, user: User, own: ServerProcess) -> None:
    """Looks once, when one of this life's servers would have had to answer. ``user`` is that of all
    servers, ``own`` the one of this life."""

    def end() -> None:
        pid = holder(os.path.join(config.state_dir, "lock"))
        if pid and pid != own.pid and _is_server(pid, user.uid):
            log(
                f"process {pid}, a server of an earlier life, holds {config.state_dir} and has not "
                f"ended in {config.server_silence_s:g} s: it is killed"
            )
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    loop.after(config.server_silence_s, end)


def holder(path: str) -> int:
    """Pid of who has locked this file by flock(2), as /proc/locks (proc(5)) has it; 0: nobody, or
    nobody that can be known."""
    try:
        status = os.stat(path)
        with open("/proc/locks", encoding="ascii") as file:
            return holder_by(file.read(), status.st_dev, status.st_ino)
    except OSError:
        return 0


def holder_by(locks: str, device: int, inode: int) -> int:
    """The same, of a text (pure)."""
    wanted = f"{os.major(device):02x}:{os.minor(device):02x}:{inode}"
    for line in locks.splitlines():
        # 1: FLOCK ADVISORY WRITE pid major:minor:inode start end; "->" is one that waits.
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5] == wanted:
            return max(0, int(fields[4]))
    return 0


def _is_server(pid: int, uid: int) -> bool:
    """Of that user, and by its command line. The pid is that of who holds the lock: it would have
    gone with him, and between that look and this one nothing is waited for."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        return os.stat(f"/proc/{pid}").st_uid == uid and _PROGRAM in words
    except OSError:
        return False
