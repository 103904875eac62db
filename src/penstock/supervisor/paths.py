"""Path arguments: resolved beneath their root, component by component, no symlink followed."""

import os
import stat

from .rights import files_as
from .users import User


class PathRefused(Exception):
    """The path is not beneath its root, or not there. The text is for the caller."""


def resolve(root: str, relative: str, user: User | None = None) -> str:
    """The absolute path of ``relative`` beneath ``root``; "" and "." are the root itself.

    Every component must exist and none may be a symbolic link. With ``user``, the job's, it is
    looked for with that user's rights: what a job could not see, no refusal tells of, and
    no directory on the way may be one that the user can write, or the path could come to mean
    something else. The answer is a path, not a descriptor: the program opens it again itself,
    which is why roots that clients or the jobs' users can write are refused when the
    policy is read. Raises PathRefused.
    """
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in relative:
        raise PathRefused(f"{relative!r} leaves {root}")
    try:
        with files_as(user):
            _walk(root, parts, user)
    except OSError as error:
        where = error.filename or root
        raise PathRefused(f"{where}: {error.strerror}") from None
    return os.path.join(root, *parts)


def _walk(root: str, parts: list[str], user: User | None) -> None:
    """Raises PathRefused, or OSError with the path that it is about."""
    current = root
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for part in parts:
            if user is not None and _writable(fd, user):
                raise PathRefused(
                    f"{current} can be written by the job's own user, who could change what is "
                    "there meanwhile"
                )
            current = os.path.join(current, part)
            try:
                following = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            except OSError as error:
                error.filename = current
                raise
            os.close(fd)
            fd = following
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                raise PathRefused(f"{current} is a symbolic link, which is not followed")
    finally:
        os.close(fd)


def _writable(fd: int, user: User) -> bool:
    """Can the user, whose rights on files we have, put something else into this directory?"""
    # Its owner can give himself the right. access(2) knows of access control lists.
    return os.fstat(fd).st_uid == user.uid or os.access(".", os.W_OK, dir_fd=fd, effective_ids=True)


def check_root(root: str, owners: frozenset[int], writers: frozenset[int]) -> list[str]:
    """Mistakes of a granted root: who could put what they like in the place of a checked path.

    It and every directory above must belong to one of ``owners``, and be writable neither by
    everybody nor by one of the groups ``writers``; above it, a sticky one such as /tmp will do, as
    nobody can rename what is not theirs there. No part of it may be a symbolic link.
    """
    try:
        status = os.stat(root)
        resolved = os.path.realpath(root, strict=True)
    except OSError as error:
        return [f"path root {root}: {error.strerror}; create it or grant another"]
    if not stat.S_ISDIR(status.st_mode):
        return [f"path root {root} is no directory; grant one, or name the file in `fixed`"]
    if resolved != root:
        return [f"path root {root} leads through a symbolic link; write {resolved}"]
    mistakes = []
    if _shared(status, owners, writers):
        mistakes.append(
            f"path root {root} can be written by the jobs' users; chown root, chmod go-w"
        )
    above = root
    while above != "/":
        above = os.path.dirname(above)
        status = os.stat(above)
        sticky = status.st_mode & stat.S_ISVTX and status.st_uid in owners
        if not sticky and _shared(status, owners, writers):
            mistakes.append(
                f"path root {root} can be replaced by the jobs' users, who can write {above}; "
                "chown root, chmod go-w"
            )
    return mistakes


def _shared(status: os.stat_result, owners: frozenset[int], writers: frozenset[int]) -> bool:
    by_group = status.st_mode & stat.S_IWGRP and status.st_gid in writers
    return bool(status.st_uid not in owners or status.st_mode & stat.S_IWOTH or by_group)
