"""A read-only view of the host in an own mount namespace, with a few writable directories.

Read-only is a property of a mount, not of the file system below it. So the kernel refuses every
change through this view, whichever user the process has, and the host's own view stays as it was.
Devices, sockets and FIFOs can still be written, because what is behind them is not on the mount.
"""

import contextlib
import os
import stat
import struct
from collections.abc import Sequence
from typing import Final

from ..kernel import system_calls

# The same numbers on every architecture: asm-generic/unistd.h.
_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_MOUNT_SETATTR: Final = 442

_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000
_AT_EMPTY_PATH: Final = 0x1000
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_MOVE_MOUNT_T_SYMLINKS: Final = 0x10
# struct mount_attr of linux/mount.h: to set, to clear, propagation, user namespace.
_ATTRIBUTES: Final = struct.Struct("QQQQ")
_RDONLY: Final = 0x1
_NOSUID: Final = 0x2
_NODEV: Final = 0x4
# Not slave, because what the host mounts later would then appear here, writable. The price is that
# what the host unmounts stays in use until the jobs that were there have ended.
_PRIVATE: Final = 1 << 18

_SHM_FLAGS: Final = 0x2 | 0x4  # nosuid, nodev
_PROC_FLAGS: Final = 0x1 | 0x2 | 0x4 | 0x8  # read-only, nosuid, nodev, noexec
_SHM_OPTIONS: Final = b"mode=1777"


def enter(
    writable: Sequence[str],
    visible: Sequence[str],
    private: Sequence[str],
    behind: str,
    shm: str,
    *,
    owner: tuple[int, int] | None,
    own_proc: bool,
) -> None:
    """In an own mount namespace: makes all read-only and nosuid but for what is named.

    ``writable`` keeps its own mounts' rights. Over each of ``private`` comes the directory
    ``behind``, and in it the ``visible`` and writable ones that it would hide; over ``shm`` a
    tmpfs, which counts as the job's memory; over /proc, in an own PID namespace, its own
    processes. ``behind`` is given to ``owner`` (uid, gid) only at the end, so that no process of
    that user can put a symbolic link in the way of what is made in it here. Raises OSError.
    """
    _set("/", _NOSUID, _PRIVATE)
    trees = [(open_tree(behind), target) for target in private]
    # A descriptor of the tree itself, because a private place can be a writable one as well, and
    # then its name means the host's directory.
    given = os.dup(trees[0][0]) if trees and owner is not None else -1
    inner = [(open_tree(path), path) for path in writable]
    _set("/", _RDONLY)
    # Opened after the step above, so that they are read-only, and before anything hides them.
    inner += [(open_tree(path), path) for path in visible]
    if own_proc:
        system_calls.mount(b"proc", "/proc", _PROC_FLAGS, b"")
    if shm:
        system_calls.mount(b"tmpfs", shm, _SHM_FLAGS, _SHM_OPTIONS)
    for tree, target in trees:
        attach(tree, target)
    for tree, target in sorted(inner, key=lambda entry: entry[1]):
        _make_place(tree, target)
        attach(tree, target)
    if owner is not None and given >= 0:
        system_calls.chown(given, *owner)
        os.close(given)


def _set(path: str, attributes: int, propagation: int = 0) -> None:
    data = _ATTRIBUTES.pack(attributes, 0, propagation, 0)
    system_calls.call(
        *(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE, data, len(data)),
    )


def make_harmless(tree: int) -> None:
    """Makes a tree that hangs nowhere yet read-only, nosuid and nodev."""
    data = _ATTRIBUTES.pack(_RDONLY | _NOSUID | _NODEV, 0, _PRIVATE, 0)
    system_calls.call(*(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, data, len(data)))


def open_tree(path: str) -> int:
    """The mounts at a path as a tree that hangs nowhere."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    try:
        return system_calls.call(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)
    except OSError as error:
        error.filename = path
        raise


def _make_place(tree: int, target: str) -> None:
    """Makes the place where a tree is attached. It is missing only where ``behind`` hides it, so it
    is made in there."""
    with contextlib.suppress(FileExistsError):
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            os.makedirs(target)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def attach(tree: int, target: str, *, follow: bool = False) -> None:
    """Puts a tree over what is at ``target`` now, and closes its descriptor. Raises OSError.

    ``follow``: if the target is a symbolic link, over what that leads to.
    """
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (_MOVE_MOUNT_T_SYMLINKS if follow else 0)
    system_calls.call(*(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), flags))
    os.close(tree)
