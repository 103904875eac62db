"""Which file systems penstock's directories are on, and what can be promised there."""

import os
import re
from typing import Final

# These file systems write in new places, or lie above others that do. So the next bytes of a file
# do not take the blocks that it was given ahead (fallocate(2)), or it is given none.
NO_RESERVE: Final = frozenset(
    {"bcachefs", "btrfs", "zfs", "overlay", "fuse", "nfs", "nfs4", "9p", "virtiofs", "cifs", "smb3"}
)
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


def shared(one: str, other: str) -> bool:
    """Are both on the same file system? A path that is missing counts where it would be made."""
    return os.stat(_first_there(one)).st_dev == os.stat(_first_there(other)).st_dev


def kind(path: str) -> str:
    """The type of the file system that ``path`` is on, "" if it cannot be known."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return kind_by(file.read(), os.path.realpath(_first_there(path)))


def kind_by(mountinfo: str, path: str) -> str:
    """The same, by the text of mountinfo as in proc(5) (pure).

    Of the mounts above the path the nearest counts, and of several at that place the last.
    """
    found, longest = "", -1
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[4]).rstrip("/")
        above = path == point or path.startswith(point + "/")
        if above and len(point) >= longest:
            found, longest = after.split(" ")[0].partition(".")[0], len(point)
    return found


def _first_there(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    return path
