"""Files of the host with a line more, in a job's own mount namespace: passwd and group.

The copies live in a file system in memory that hangs nowhere: it is mounted for a moment over a
directory that is there anyway, the files are made in it and opened as trees, and it is taken away
again. So nothing is on a disk, and the job's end is theirs.

The copies are made from what the host has as the job starts. A host that replaces one of the files
(useradd renames a new one over it) takes the job's away, and the job then sees the host's.
"""

import os
from collections.abc import Sequence
from typing import Final

from . import kernel, mounts

_FLAGS: Final = 0x2 | 0x4 | 0x8  # nosuid, nodev, noexec
_OPTIONS: Final = b"mode=755"
_MOST_BYTES: Final = 64 << 20  # of one file; it counts as the job's memory


def show(entries: Sequence[tuple[str, bytes]]) -> None:
    """In an own mount namespace: lets each path mean the host's file with this line behind it.

    A path that the host does not have stays missing. Raises OSError.
    """
    copies = []
    for path, line in entries:
        resolved = os.path.realpath(path)
        try:
            content = _content(resolved)
        except FileNotFoundError:
            continue
        copies.append((resolved, content + line))
    if not copies:
        return
    place = os.path.dirname(copies[0][0])
    kernel.mount(b"tmpfs", place, _FLAGS, _OPTIONS)
    trees = []
    for number, (path, content) in enumerate(copies):
        own = os.path.join(place, str(number))
        with open(own, "xb") as file:
            file.write(content)
        os.chmod(own, 0o644)
        trees.append((mounts.open_tree(own), path))
    kernel.unmount(place)
    for tree, path in trees:
        mounts.make_harmless(tree)
        mounts.attach(tree, path)


def _content(path: str) -> bytes:
    """With an end to its last line."""
    with open(path, "rb") as file:
        data = file.read(_MOST_BYTES)
    return data if data.endswith(b"\n") or not data else data + b"\n"
