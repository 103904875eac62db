"""A directory of its own for each job, made with it and removed with it."""

import contextlib
import os
import shutil
from collections.abc import Callable

from .loop import READ, Loop
from .users import User


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
    if not os.path.exists(path):
        on_removed()
        return
    pid = os.fork()
    if pid == 0:
        try:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os._exit(0)
    pidfd = os.pidfd_open(pid)

    def done() -> None:
        loop.forget(pidfd)
        os.close(pidfd)
        os.waitpid(pid, 0)
        on_removed()

    loop.watch(pidfd, READ, done)


def sweep(root: str) -> None:
    """Removes what an earlier life left below ``root``; only names that are job ids."""
    for entry in os.scandir(root):
        if len(entry.name) == 32 and entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
