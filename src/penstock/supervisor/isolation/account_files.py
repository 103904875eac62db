"""Files of the host with a line more, in a job's own mount namespace: passwd and group.

The copies live in memory and have no name: each is made in the job's own /dev/shm, opened as a tree
that hangs nowhere, put over the host's file, and then unlinked. So nothing is on a disk, and the
copies end with the job. Where a job has no /dev/shm of its own, a file system in memory is mounted
for a moment; taking that away again costs half a millisecond, because the kernel waits for all
processors.

The copies are made from what the host has as the job starts. If the host replaces one of the files
(useradd renames a new one over it), the kernel takes the job's copy away, and the job sees the
host's file from then on.
"""

import os
from collections.abc import Sequence
from typing import Final

from ..kernel import system_calls
from . import mount_view

_FLAGS: Final = 0x2 | 0x4 | 0x8  # nosuid, nodev, noexec
_OPTIONS: Final = b"mode=755"
_PIECE_BYTES: Final = 1 << 16


def show(entries: Sequence[tuple[str, bytes]], memory: str) -> None:
    """In an own mount namespace: lets each path mean the host's file with this line behind it.

    ``memory`` is an empty directory of the job's own in memory, "" if it has none. A path that the
    host does not have stays missing. Raises OSError.
    """
    copies = []
    for path, line in entries:
        content = _content(path)
        if content is not None:
            copies.append((path, content + line))
    if not copies:
        return
    # Mounted over a directory that is there anyway; the files are opened before it is unmounted.
    place = memory or os.path.dirname(copies[0][0])
    if not memory:
        system_calls.mount(b"tmpfs", place, _FLAGS, _OPTIONS)
    names = [f"{place}/{number}" for number in range(len(copies))]
    trees = []
    for name, (_, content) in zip(names, copies, strict=True):
        _write(name, content)
        trees.append(mount_view.open_tree(name))
    if not memory:
        system_calls.unmount(place)
    for tree, (path, _) in zip(trees, copies, strict=True):
        mount_view.make_harmless(tree)
        mount_view.attach(tree, path, follow=True)
    if memory:
        for name in names:  # not earlier, because a file without a name cannot be attached
            os.unlink(name)


# By system calls alone, because in a new child each object of Python's is a page to copy.
def _write(path: str, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    left = memoryview(content)
    while left:
        left = left[os.write(fd, left) :]
    os.close(fd)


def _content(path: str) -> bytes | None:
    """The file's bytes, with an end to the last line; None if there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    pieces = []
    while piece := os.read(fd, _PIECE_BYTES):
        pieces.append(piece)
    os.close(fd)
    data = b"".join(pieces)
    return data if data.endswith(b"\n") or not data else data + b"\n"
