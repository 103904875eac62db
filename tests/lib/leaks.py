"""What a test may have left behind: descriptors, processes, cgroups."""

import contextlib
import ctypes
import functools
import gc
import os
import select
import signal
import time
from pathlib import Path

from patience import patient
from pidfds import open_pidfd
from this_run import group_prefix

_PR_SET_CHILD_SUBREAPER = 36
# A process that was killed is gone a moment after the call returns.
_SETTLE_S = patient(2)


def become_subreaper() -> None:
    """Orphans below this process become its children instead of init's (prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


class Descriptors:
    """The open descriptors of this process at the time it is made."""

    def __init__(self) -> None:
        self._before = _descriptors()

    def opened_since(self) -> dict[int, str]:
        """Those open now that were not, without what garbage alone holds.

        A thread that nobody waits for any more, such as one that removes files, closes what it has
        open a moment later, and no event says so.
        """
        if not self._new():
            return {}
        gc.collect()  # some 50 ms: only where there is a suspicion
        deadline = time.monotonic() + _SETTLE_S
        while (new := self._new()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return new

    def _new(self) -> dict[int, str]:
        return {fd: what for fd, what in _descriptors().items() if fd not in self._before}


class Children:
    """The child processes of this process at the time it is made."""

    def __init__(self) -> None:
        self._before = _children()

    def left_behind(self) -> list[str]:
        """New children that do not end by themselves at once; they are ended here.

        Adopted ones that have ended are reaped and are no leak.
        """
        deadline = time.monotonic() + _SETTLE_S
        left = []
        # Ending one can hand over its own children: until there are no more.
        while new := _children() - self._before:
            for pid in new:
                if not _ended(pid, deadline):
                    left.append(f"{pid} {_command(pid)}")
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        return left


def parent_groups() -> set[str]:
    """The parent groups that tests of this process have made, in every hierarchy.

    One is there from a server's first job to the server's end.
    """
    prefix = group_prefix()
    found: set[str] = set()
    for place in _group_places(_mounts()):
        with contextlib.suppress(OSError):  # not there, or not a directory any more
            # No glob: this runs twice for each test, in a dozen directories.
            names = (name for name in os.listdir(place) if name.startswith(prefix))
            found.update(os.path.join(place, name) for name in names)
    return found


def _mounts() -> bytes:
    """As they are now: a test may have mounted something."""
    fd = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(fd, 1 << 16), b""))
    finally:
        os.close(fd)


@functools.lru_cache(maxsize=1)
def _group_places(mounts: bytes) -> list[str]:
    """Where control groups are mounted; parsed once for as long as nothing is mounted."""
    found = []
    for line in mounts.decode(errors="surrogateescape").splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup"):
            found.append(fields.split()[4])
    return found


def job_groups() -> set[str]:
    """Every group below such a parent but those of lives and clients, which are kept with it."""
    return {
        os.path.join(directory, name)
        for parent in parent_groups()
        for directory, names, _ in os.walk(parent)
        for name in names
        if not name.startswith(("life-", "client-", "id-"))
    }


def groups_left(before: set[str]) -> list[str]:
    """Groups of jobs that are not in ``before`` and are not removed in a moment.

    A client hears of a job's end before the supervisor has put its group away. Removal
    of a cgroup can be waited for in no hierarchy, so this looks again.
    """
    deadline = time.monotonic() + _SETTLE_S
    while (left := job_groups() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    return sorted(left)


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def _children() -> set[int]:
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # a thread that has ended
            text = Path(f"/proc/self/task/{task}/children").read_text()
            found.update(int(pid) for pid in text.split())
    return found


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b" ".join(words).decode(errors="replace").strip()
    return ""


def _ended(pid: int, deadline: float) -> bool:
    """Waits for the end of a child, at most until ``deadline``; it is not reaped."""
    if (fd := open_pidfd(pid)) is None:
        return True
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
    finally:
        os.close(fd)
