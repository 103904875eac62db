"""Directories of a job's own, made with it and removed with it.

Beside the one where it works there is another for its temporary files, which the job sees as
/tmp. On the disk, not in memory: a program that spills there, because its data does not fit into
memory, would be killed by its memory limit. Beside it and not within, so that what a job works in
is empty at the start.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from typing import Final

from .children import fork, reap
from .log import log
from .loop import READ, Loop
from .users import User

_FORK_AGAIN_S: Final = 1.0


_TEMPORARY: Final = ".tmp"
# Of directories that hold one more and nothing else; deeper or fuller ones take a process.
_MAX_DEPTH: Final = 16


def make(root: str, job_id: str, user: User | None, with_temporary: bool) -> str:
    """``<root>/<job id>``, 0700, the job's user's, and perhaps its temporary one, which is our own
    until the job's process gives it away (isolation.mounts). Raises OSError, and nothing is left
    then."""
    path = os.path.join(root, job_id)
    try:
        os.mkdir(path, 0o700)
        if user is not None:
            os.chown(path, user.uid, user.gid)
        if with_temporary:
            os.mkdir(temporary(path), 0o700)
    except OSError:
        discard(path)
        raise
    return path


def temporary(path: str) -> str:
    """The directory for temporary files that belongs to a job's own one."""
    return path + _TEMPORARY


def discard(path: str) -> bool:
    """Removes both if they are as good as empty; was that so?"""
    return all([_remove_empty(each) for each in (path, temporary(path))])


def remove(loop: Loop, path: str, on_removed: Callable[[], None]) -> None:
    """Removes the directories; full ones in a process of its own.

    A job may leave a million files, and the supervisor must not wait for their end. That
    process runs with the supervisor's rights, as some files can be another user's;
    rmtree works on directory descriptors and follows no symbolic link.
    """
    if discard(path):
        on_removed()
        return
    try:
        pid = fork()
    except OSError:  # no more processes just now
        loop.after(_FORK_AGAIN_S, lambda: remove(loop, path, on_removed))
        return
    if pid == 0:
        try:
            # Above all the server's connection: it must end when the supervisor does.
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            remove_tree(path)
            remove_tree(temporary(path))
        finally:
            os._exit(0)
    pidfd = os.pidfd_open(pid)

    def done() -> None:
        loop.forget(pidfd)
        os.close(pidfd)
        reap(pid)
        if os.path.lexists(path) or os.path.lexists(temporary(path)):
            log(f"{path} cannot be removed; the next start of penstockd tries again")
        on_removed()

    loop.watch(pidfd, READ, done)


def remove_tree(path: str) -> None:
    """Removes all that can be removed. Without root, what a job closed is opened first."""
    if os.geteuid() != 0:
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
        for folder, names, _ in os.walk(path):
            for name in names:
                with contextlib.suppress(OSError):
                    if not os.path.islink(inner := os.path.join(folder, name)):
                        os.chmod(inner, 0o700)
    shutil.rmtree(path, ignore_errors=True)


def _remove_empty(path: str) -> bool:
    """Removes a directory that is gone, empty, or holds nothing but one such after another.

    Places of mounts are like that (isolation.mounts). No symbolic link is followed, as another job
    of the same user could put one there.
    """
    fds: list[int] = []
    names = [path]
    try:
        for _ in range(2 * _MAX_DEPTH):
            with contextlib.suppress(OSError):
                os.rmdir(names[-1], dir_fd=fds[-1] if fds else None)
                names.pop()
                if not names:
                    return True
                os.close(fds.pop())
                continue
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            fds.append(os.open(names[-1], flags, dir_fd=fds[-1] if fds else None))
            with os.scandir(fds[-1]) as entries:
                names.append(next(entries).name)
                if next(entries, None) is not None:
                    return False
        return False
    except FileNotFoundError:
        return len(names) == 1
    except (OSError, StopIteration):
        return False
    finally:
        for fd in fds:
            os.close(fd)


def sweep(root: str) -> None:
    """Removes what an earlier life left below ``root``; only names that begin as job ids do."""
    for entry in os.scandir(root):
        if len(entry.name.removesuffix(_TEMPORARY)) == 32 and entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
