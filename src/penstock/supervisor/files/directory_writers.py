"""Which users can put something else into a directory: by owner, mode, group or access list.

A name that was checked means the same file when a program opens it only as long as no untrusted
user can write the directory that it stands in. Mode bits do not say it all: with an access control
list those of the group are a mask (acl(5)), and the process that serves a file system of FUSE
reports whatever owners and modes it likes.
"""

import contextlib
import grp
import os
import pwd
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..users.user_names import resolve_user

# linux/posix_acl_xattr.h: a version, then entries of tag, permissions and id.
_ACL: Final = "system.posix_acl_access"
_ACL_VERSION: Final = 2
_HEADER: Final = struct.Struct("<I")
_ENTRY: Final = struct.Struct("<HHI")
_USER: Final = 0x02
_GROUP_OBJ: Final = 0x04
_GROUP: Final = 0x08
_MASK: Final = 0x10
_WRITE: Final = 2


@dataclass(frozen=True, slots=True)
class Trusted:
    """The users whose writing is no mistake. ``groups`` have no members but these."""

    users: frozenset[int]
    groups: frozenset[int] = frozenset()

    def also(self, *others: "Trusted") -> "Trusted":
        """Those that these trust together."""
        return Trusted(
            self.users.union(*(other.users for other in others)),
            self.groups.union(*(other.groups for other in others)),
        )


def trusted_here() -> Trusted:
    """Root and the user of this process.

    Without root its group as well, because directories made under a umask of 002 are the group's to
    write.
    """
    groups = frozenset() if os.geteuid() == 0 else frozenset({os.getegid()})
    return Trusted(frozenset({0, os.geteuid()}), groups)


def trusted_owner(name: str) -> Trusted:
    """A user by name or number, and its group if that has no other member now. Raises UserError."""
    user = resolve_user(name)
    try:
        names = set(grp.getgrgid(user.gid).gr_mem)
    except KeyError:  # nothing says which members the group has
        return Trusted(frozenset({user.uid}))
    members = {
        entry.pw_uid
        for entry in pwd.getpwall()
        if entry.pw_gid == user.gid or entry.pw_name in names
    }
    unknown = names - {entry.pw_name for entry in pwd.getpwall()}
    alone = user.gid != 0 and not unknown and members <= {0, user.uid}
    return Trusted(frozenset({user.uid}), frozenset({user.gid} if alone else ()))


def why_writable(fd: int, status: os.stat_result, trusted: Trusted) -> str | None:
    """Which untrusted user can write the open directory, such as "belongs to user 1000".

    None if there is none. Owners count as writers, because they can give themselves the right.
    ``fd`` may be O_PATH. Raises OSError.
    """
    if status.st_uid not in trusted.users:
        return f"belongs to user {status.st_uid}"
    if status.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    if status.st_mode & stat.S_IWGRP:
        for who in _by_group_or_list(status, _access_list(fd), trusted):
            return f"can be written by {who}"
    return None


def sticky_of_trusted(status: os.stat_result, trusted: Trusted) -> bool:
    """Is the directory a trusted user's and sticky? In such a one no other user can replace what a
    trusted user owns (unlink(2))."""
    return bool(status.st_mode & stat.S_ISVTX) and status.st_uid in trusted.users


def mount_of(fd: int) -> str:
    """The id of the mount that an open file is in, "" if the kernel does not say.

    It does not ask the file system, which may not answer. Raises OSError.
    """
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return next((line.split()[1] for line in file if line.startswith("mnt_id:")), "")


def why_foreign_mount(mount: str, trusted: Trusted) -> str | None:
    """Why the mount with this id cannot be trusted: an untrusted user's process serves it.

    Such a process (fuse(4)) can report any owner, mode and content, and can let each look wait for
    ever. Raises OSError.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split()
            if fields[0] == mount and "-" in fields:
                kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
                return _why_fuse(kind, options, trusted)
    return None


def _why_fuse(kind: str, options: list[str], trusted: Trusted) -> str | None:
    """``kind`` and ``options`` of the superblock as in mountinfo (proc(5))."""
    if kind.partition(".")[0] not in ("fuse", "fuseblk"):
        return None
    for option in options:
        key, _, value = option.partition("=")
        if key == "user_id" and value.isdigit() and int(value) not in trusted.users:
            return f"is a file system that a process of user {value} serves"
    return None


def listed_writers(path: str) -> tuple[frozenset[int], frozenset[int]]:
    """Users and groups that the directory's access list names and lets write; none without one."""
    data = None
    with contextlib.suppress(OSError):
        data = os.getxattr(path, _ACL)
    if data is None or not _is_known(data):
        return frozenset(), frozenset()
    entries = list(_writing(data))
    return (
        frozenset(number for tag, number in entries if tag == _USER),
        frozenset(number for tag, number in entries if tag == _GROUP),
    )


def _access_list(fd: int) -> bytes | None:
    # By the link in /proc, because an O_PATH descriptor has no attributes. A directory without a
    # list and a file system without lists are the same here.
    with contextlib.suppress(OSError):
        return os.getxattr(f"/proc/self/fd/{fd}", _ACL)
    return None


def _by_group_or_list(
    status: os.stat_result, data: bytes | None, trusted: Trusted
) -> Iterator[str]:
    if data is None:
        if status.st_gid not in trusted.groups:
            yield f"group {status.st_gid}"
        return
    if not _is_known(data):
        yield "users of its access list, which is of an unknown kind"
        return
    for tag, number in _writing(data):
        if tag == _USER and number not in trusted.users:
            yield f"user {number}, by its access list"
        elif tag == _GROUP_OBJ and status.st_gid not in trusted.groups:
            yield f"group {status.st_gid}"
        elif tag == _GROUP and number not in trusted.groups:
            yield f"group {number}, by its access list"


def _is_known(data: bytes) -> bool:
    return len(data) >= _HEADER.size and _HEADER.unpack_from(data)[0] == _ACL_VERSION


def _writing(data: bytes) -> Iterator[tuple[int, int]]:
    """Tags and ids of the entries that may write, where the mask lets them."""
    whole = len(data) - (len(data) - _HEADER.size) % _ENTRY.size
    entries = list(_ENTRY.iter_unpack(data[_HEADER.size : whole]))
    mask = next((rights for tag, rights, _ in entries if tag == _MASK), _WRITE)
    for tag, rights, number in entries:
        if rights & mask & _WRITE:
            yield tag, number
