"""Directories of a job's own, made with it and removed with it.

Beside the one where the job works there is another for its temporary files, which the job sees as
/tmp. It is on the disk, not in memory, because a program spills there what does not fit into
memory, and its memory limit would kill it for that. It lies beside the other and not within, so
that the job's working directory is empty at the start.
"""

import contextlib
import os
import re
import signal
import uuid
from collections.abc import Callable
from typing import Final

from ..kernel.loop import READ, Loop
from ..kernel.reap import disown, fork, reap
from ..logs.supervisor_log import log
from ..users.user_names import User

_FORK_AGAIN_S: Final = 1.0
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_TEMPORARY: Final = ".tmp"
_OF_A_JOB: Final = re.compile(rf"[0-9a-f]{{32}}({re.escape(_TEMPORARY)})?", re.ASCII)
# How deep a chain of directories that hold one more and nothing else is removed at once; deeper or
# fuller ones take a process of their own.
_MAX_DEPTH: Final = 16


def make(root: str, job_id: str, user: User | None, with_temporary: bool) -> str:
    """Makes ``<root>/<job id>``, 0700, which belongs to the job's user, and perhaps its temporary
    one, which is ours until the job's process gives it away (isolation.mount_view).

    Raises OSError, and nothing is left then.
    """
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
    """Removes both if they are as good as empty. Returns whether both are gone."""
    return all([_remove_empty(each) for each in (path, temporary(path))])


class Workdir:
    """One job's directories, until they are removed; without ``path`` it has none.

    ``on_gone`` is called when they are gone, before the callback of ``when_removed``.
    """

    def __init__(
        self, loop: Loop, path: str | None = None, on_gone: Callable[[], None] | None = None
    ) -> None:
        self._loop = loop
        self._path = path
        self._on_gone = on_gone
        self._begun = False
        self._gone = path is None
        self._on_removed: Callable[[], None] | None = None

    def remove(self) -> None:
        """Begins the removal, once: no process of the job is left."""
        if not self._begun and self._path is not None:
            self._begun = True
            remove(self._loop, self._path, self._removed)

    def when_removed(self, on_removed: Callable[[], None]) -> None:
        """Removes them, or waits for the removal under way; calls back when they are gone."""
        self._on_removed = on_removed
        self.remove()
        if self._gone:
            self._tell()

    def _removed(self) -> None:
        self._gone = True
        if self._on_gone is not None:
            self._on_gone()
        self._tell()

    def _tell(self) -> None:
        on_removed, self._on_removed = self._on_removed, None
        if on_removed is not None:
            on_removed()


def remove(loop: Loop, path: str, on_removed: Callable[[], None]) -> None:
    """Removes the directories; full ones in a process of its own.

    A job may leave a million files, and the supervisor must not wait for their removal. That
    process keeps the supervisor's rights, because some files may belong to another user.
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
            # Above all the server's connection, because it must end when the supervisor does.
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            remove_tree(path)
            remove_tree(temporary(path))
        finally:
            os._exit(0)
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # out of descriptors, so the end of this process could not be seen
        os.kill(pid, signal.SIGKILL)
        disown(pid)
        loop.after(_FORK_AGAIN_S, lambda: remove(loop, path, on_removed))
        return

    def done() -> None:
        loop.forget(pidfd)
        os.close(pidfd)
        reap(pid)
        if os.path.lexists(path) or os.path.lexists(temporary(path)):
            log(f"{path} cannot be removed; the next start of penstockd tries again")
        on_removed()

    loop.watch(pidfd, READ, done)


def remove_tree(path: str) -> None:
    """Removes all that can be removed, and follows no symbolic link.

    Without root, directories that a job closed are opened first. A directory within a directory is
    moved to the top before it is looked into, because a job can nest them deeper than a path, a
    stack or a process's descriptors reach.
    """
    if os.geteuid() != 0:
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
    with contextlib.suppress(OSError):
        top = os.open(path, _DIRECTORY)
        try:
            todo = os.listdir(top)
            while todo:
                todo += _take_apart(todo.pop(), top)
        finally:
            os.close(top)
        os.rmdir(path)


def _take_apart(name: str, top: int) -> list[str]:
    """Removes what has this name in ``top``. Returns the names of directories that were moved there
    from within."""
    moved: list[str] = []
    if _removed(name, top):
        return moved
    try:
        _open_up(name, top)
        fd = os.open(name, _DIRECTORY, dir_fd=top)
    except OSError:
        return moved
    try:
        for inner in os.listdir(fd):
            if _removed(inner, fd):
                continue
            with contextlib.suppress(OSError):
                _open_up(inner, fd)
                above = uuid.uuid4().hex
                os.rename(inner, above, src_dir_fd=fd, dst_dir_fd=top)
                moved.append(above)
    except OSError:
        return moved
    finally:
        os.close(fd)
    _removed(name, top)
    return moved


def _removed(name: str, directory: int) -> bool:
    """Tries to remove a file or an empty directory. Returns whether it is gone."""
    for remove_one in (os.unlink, os.rmdir):
        try:
            remove_one(name, dir_fd=directory)
        except OSError:
            continue
        return True
    return False


def _open_up(name: str, directory: int) -> None:
    """Makes a directory accessible, without root. Root needs no rights for it. Raises OSError."""
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=directory)


def _remove_empty(path: str) -> bool:
    """Removes a directory that is empty, or holds nothing but a chain of such. Is it gone now?

    Places of mounts are such chains (isolation.mount_view). No symbolic link is followed, because
    another job of the same user could put one there.
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
            fds.append(os.open(names[-1], _DIRECTORY, dir_fd=fds[-1] if fds else None))
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
    """Removes what an earlier life left below ``root``: directories that have a job's name."""
    for entry in os.scandir(root):
        if _OF_A_JOB.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
