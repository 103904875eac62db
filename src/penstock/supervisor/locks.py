"""What one penstockd alone may have at a time: its directories and its groups."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from typing import Final

from ..policy.configuration import Config
from .cgroups import (
    Hierarchy,
    detect_below,
    find_place,
    locked_around,
    locked_below,
    mounted,
    new_life,
)
from .ipc.run_directory import RunDirectory
from .startup import StartupError

# More than sentinel_main.py takes.
_SENTINEL_S: Final = 3.0
_LOOK_S: Final = 0.02


def lock_files(config: Config, run_directory: RunDirectory) -> list[int]:
    """Locks of run_dir, which has its own, of work_root and, as root, of supervisor_dir, where
    there is one; held as long as the descriptors.

    Raises StartupError.
    """
    if not run_directory.lock():
        raise StartupError([_used("run_dir", config.run_dir)])
    locks = [_lock("work_root", config.work_root)]
    if os.geteuid() == 0 and os.path.isdir(config.supervisor_dir):
        locks.append(_lock("supervisor_dir", config.supervisor_dir))
    return locks


def find_groups(config: Config) -> tuple[Hierarchy, list[int]]:
    """Where jobs are confined, and the locks of the own parent group: a sweep by two would end
    each other's jobs. The last one is of the hierarchy that kills.

    Raises StartupError, GroupError or OSError.
    """
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        own = file.read()
    mounts, parent = find_place(config.cgroup_parent, mounted(), own)
    hierarchy = detect_below(mounts, parent, new_life())
    if hierarchy is None:
        where = mounts.v2 if mounts.v2 is not None else "no v2 mount"
        controllers = ", ".join(sorted(mounts.v2_controllers)) or "none"
        raise StartupError(
            [
                "no cgroup hierarchy can be written; mount cgroups read-write for penstockd, with "
                f"cpu, memory, io and pids in the v2 mount or on v1 ({where}: {controllers})"
            ]
        )
    # In each, as another penstockd may see others of them. The one that kills is the first.
    groups = [root + parent for root in mounts.roots(hierarchy.kind)]
    for group in groups:
        _check_nesting(locked_around, group)
    locks = [_lock_group(group) for group in reversed(groups)]
    # Again, as one that has begun at the same moment has its locks now, or will see ours.
    for group in groups:
        _check_nesting(locked_around, group)
        _check_nesting(locked_below, group)
    return hierarchy, locks


def _lock_group(path: str) -> int:
    while True:
        os.makedirs(path, exist_ok=True)
        # The sentinel of one that was killed holds it for a moment longer (sentinel_main.py).
        fd = _lock("cgroup_parent", path, patience_s=_SENTINEL_S)
        # One that ends removes the group: what was locked may be no group any more.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        os.close(fd)


def _check_nesting(find: Callable[[str], str | None], group: str) -> None:
    """Raises StartupError. Not tried again: though the other one may be ending, it was meant so."""
    other = find(group)
    if other is not None:
        side = "inside" if find is locked_around else "around"
        raise StartupError(
            [
                f"cgroup_parent: {group} is {side} {other}, which another penstockd uses; one "
                "would end the other's jobs. Name a group beside it, or stop that one"
            ]
        )


def _lock(key: str, path: str, *, patience_s: float = 0.0) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_LOOK_S)  # nobody tells when a lock is free, and is bounded
                continue
            os.close(fd)
            raise StartupError([_used(key, path)]) from None
        return fd


def _used(key: str, path: str) -> str:
    return f"{key}: another penstockd uses {path}; stop it, or name another one"
