"""A directory of its own for each job, made with it and removed with it."""

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


def make(root: str, job_id: str, user: User | None) -> str:
    """``<root>/<job id>``, 0700, the job's user's. Raises OSError."""
    path = os.path.join(root, job_id)
    os.mkdir(path, 0o700)
    if user is not None:
        os.chown(path, user.uid, user.gid)
    return path


def remove(loop: Loop, path: str, on_removed: Callable[[], None]) -> None:
    """Removes the directory; a full one in a process of its own.

    A job may leave a million files, and the supervisor must not wait for their end. That
    process runs with the supervisor's rights, as some files can be another user's;
    rmtree works on directory descriptors and follows no symbolic link.
    """
    with contextlib.suppress(OSError):
        os.rmdir(path)
    if not os.path.lexists(path):
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
        finally:
            os._exit(0)
    pidfd = os.pidfd_open(pid)

    def done() -> None:
        loop.forget(pidfd)
        os.close(pidfd)
        reap(pid)
        if os.path.lexists(path):
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


def sweep(root: str) -> None:
    """Removes what an earlier life left below ``root``; only names that are job ids."""
    for entry in os.scandir(root):
        if len(entry.name) == 32 and entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
