"""Finds another penstockd's tree around a group or inside it.

Each penstockd holds a lock on its base group (startup.py). Two trees must not be nested,
because the outer penstockd would sweep the inner one's jobs as the remains of an earlier life.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import Literal


def locked_around(directory: str) -> str | None:
    """The nearest group above this one that another process has locked; within the mount.

    The group itself need not exist. Raises OSError.
    """
    top = directory
    while not os.path.isdir(top):
        top = os.path.dirname(top)
    device = os.stat(top).st_dev
    if top != directory and _is_locked(top):
        return top
    while top != "/":
        top = os.path.dirname(top)
        if os.stat(top).st_dev != device:
            return None
        if _is_locked(top):
            return top
    return None


def locked_below(directory: str) -> str | None:
    """A group below this one that another process has locked; None if there is none. OSError."""
    return next((path for path in _below(directory) if _is_locked(path)), None)


def nesting_mistake(group: str, side: Literal["inside", "around"], other: str) -> str:
    """What to say of a group and another penstockd's, which is around it or below it."""
    return (
        f"cgroup_parent: {group} is {side} {other}, which another penstockd uses; one would end "
        "the other's jobs. Name a group beside it, or stop that one"
    )


def _below(directory: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.path
                yield from _below(entry.path)


def _is_locked(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:  # it has ended meanwhile
        return False
    try:
        # Shared, so that two processes that look at once do not take each other for an owner.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
