"""Locks of what only one penstockd may have at a time: its directories and its groups.

Two on the same ones would end each other's jobs: each sweeps at its start what it takes for the
leftovers of an earlier life. A lock of flock(2) ends with the process that holds it, so a
penstockd that was killed leaves none.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from typing import Final, Literal

from ..policy.configuration import Config
from .cgroups import (
    Hierarchy,
    base_mistakes,
    detect_below,
    find_place,
    locked_around,
    locked_below,
    mounted,
    nesting_mistake,
    new_life,
)
from .ipc.run_directory import RunDirectory
from .startup import StartupError

# More than sentinel_main.py takes.
_SENTINEL_S: Final = 3.0
_LOOK_S: Final = 0.02


def lock_files(config: Config, run_directory: RunDirectory) -> list[int]:
    """Locks run_dir, work_root and, as root, supervisor_dir, where there is one.

    Each is held as long as its descriptor, which is returned; run_dir has its own. Raises
    StartupError.
    """
    if not run_directory.lock():
        raise StartupError([_used("run_dir", config.run_dir)])
    locks = [_lock("work_root", config.work_root)]
    if os.geteuid() == 0 and os.path.isdir(config.supervisor_dir):
        locks.append(_lock("supervisor_dir", config.supervisor_dir))
    return locks


def find_groups(config: Config) -> tuple[Hierarchy, list[int]]:
    """Where jobs are confined, and the locks of the base group in each hierarchy.

    The last lock is of the hierarchy that kills. Raises StartupError, GroupError or OSError.
    """
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        own = file.read()
    mounts, base = find_place(config.cgroup_parent, mounted(), own)
    if mistakes := base_mistakes(mounts, base):
        raise StartupError(mistakes)
    hierarchy = detect_below(mounts, base, new_life())
    assert hierarchy is not None  # or there were mistakes
    # In each hierarchy, because another penstockd may use only some of them. The one that kills is
    # the first.
    groups = [root + base for root in mounts.roots(hierarchy.kind)]
    for group in groups:
        _check_nesting(locked_around, group)
    locks = [_lock_group(group) for group in reversed(groups)]
    # Looked at again, because a penstockd that began at the same moment has its locks by now, or
    # will see ours.
    for group in groups:
        _check_nesting(locked_around, group)
        _check_nesting(locked_below, group)
    return hierarchy, locks


def _lock_group(path: str) -> int:
    while True:
        os.makedirs(path, exist_ok=True)
        # The sentinel of a penstockd that was killed holds it for a moment longer.
        fd = _lock("cgroup_parent", path, patience_s=_SENTINEL_S)
        # A penstockd that ends removes the group, so what was locked may be no group any more.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        os.close(fd)


def _check_nesting(find: Callable[[str], str | None], group: str) -> None:
    """Raises StartupError if another penstockd's group is around or below this one.

    It is not tried again, even though the other one may be ending, because the configuration puts
    one within the other.
    """
    other = find(group)
    if other is not None:
        side: Literal["inside", "around"] = "inside" if find is locked_around else "around"
        raise StartupError([nesting_mistake(group, side, other)])


def _lock(key: str, path: str, *, patience_s: float = 0.0) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_LOOK_S)  # flock(2) waits without a bound, or not at all
                continue
            os.close(fd)
            raise StartupError([_used(key, path)]) from None
        return fd


def _used(key: str, path: str) -> str:
    return f"{key}: another penstockd uses {path}; stop it, or name another one"
