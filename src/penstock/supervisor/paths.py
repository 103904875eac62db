"""Path arguments: resolved beneath their root, component by component, no symlink followed."""

import os
import stat


class PathRefused(Exception):
    """The path is not beneath its root, or not there. The text is for the caller."""


def resolve(root: str, relative: str) -> str:
    """The absolute path of ``relative`` beneath ``root``; "" and "." are the root itself.

    Every component must exist and none may be a symbolic link. The answer is a path, not a
    descriptor: the program opens it again itself, which is why roots that clients or
    the jobs' users can write are refused when the policy is read. Raises PathRefused.
    """
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in relative:
        raise PathRefused(f"{relative!r} leaves {root}")
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    current = root
    try:
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts:
            current = os.path.join(current, part)
            try:
                following = os.open(part, flags, dir_fd=fd)
            finally:
                os.close(fd)
            fd = following
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                os.close(fd)
                raise PathRefused(f"{current} is a symbolic link, which is not followed")
        os.close(fd)
    except OSError as error:
        raise PathRefused(f"{current}: {error.strerror}") from None
    return os.path.join(root, *parts)


def check_root(root: str, owners: frozenset[int], writers: frozenset[int]) -> list[str]:
    """Mistakes of a granted root: who could put what they like in the place of a checked path.

    It must belong to one of ``owners``, and be writable neither by everybody nor by one of the
    groups ``writers``.
    """
    try:
        status = os.stat(root)
    except OSError as error:
        return [f"path root {root}: {error.strerror}; create it or grant another"]
    shared = status.st_mode & stat.S_IWGRP and status.st_gid in writers
    if status.st_uid not in owners or status.st_mode & stat.S_IWOTH or shared:
        return [f"path root {root} can be written by the jobs' users; chown root, chmod go-w"]
    return []
