"""Path arguments: resolved beneath their root, component by component, no symlink followed.

Theory of operation. The program opens the path again, by its name, so what the name means must stay
what was checked. Only a user that can write a directory on the way can change that. So each
directory, from / to the one that holds the last part, must belong to root, or to a user that the
slot names, and no other user may be able to write it. Above the root a sticky directory such as
/tmp will do, because there no user can replace what belongs to another, and the next directory on
the way is held to the same rule.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Final

from ..users.user_names import User
from .directory_writers import (
    Trusted,
    mount_of,
    sticky_of_trusted,
    trusted_here,
    why_foreign_mount,
    why_writable,
)
from .file_access import files_as

_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_REMEDY: Final = (
    "who could put something else in the place of what was checked; chown it to root, chmod go-w, "
    "or name its owner in the slot's owners"
)


class PathRefused(Exception):
    """The path is not beneath its root, or not there. The text is for the caller."""


def resolve(
    root: str, relative: str, user: User | None = None, owners: Sequence[Trusted] = ()
) -> str:
    """The absolute path of ``relative`` beneath ``root``; "" and "." are the root itself.

    Every component must exist, none may be a symbolic link, and only root and ``owners`` (the
    slot's) may be able to write a directory on the way. With ``user``, the job's, the path is
    looked for with that user's rights, so that no refusal tells a client of what its job could not
    see. The answer is a path, not a descriptor, because the program opens it again itself. Raises
    PathRefused.
    """
    parts = [part for part in relative.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in relative:
        raise PathRefused(f"{relative!r} leaves {root}")
    try:
        with files_as(user):
            for text in _walk(root, parts, trusted_here().also(*owners)):
                raise PathRefused(text)
    except OSError as error:
        where = error.filename or root
        raise PathRefused(f"{where}: {error.strerror}") from None
    return os.path.join(root, *parts)


def check_root(
    root: str, owners: Sequence[Trusted] = (), trusted: Trusted | None = None
) -> list[str]:
    """Mistakes of a granted root for which ``resolve`` would refuse every path below it.

    ``trusted``: those of the process that will resolve, where that is not this one.
    """
    everywhere = (trusted or trusted_here()).also(*owners)
    try:
        status = os.stat(root)
        resolved = os.path.realpath(root, strict=True)
        if not stat.S_ISDIR(status.st_mode):
            return [f"path root {root} is no directory; grant one, or name the file in `fixed`"]
        if resolved != root:
            return [f"path root {root} leads through a symbolic link; write {resolved}"]
        return [f"path root {root}: {text}" for text in _walk(root, [], everywhere)]
    except PathRefused as error:
        return [f"path root {root}: {error}"]
    except OSError as error:
        return [f"path root {root}: {error.strerror}; create it or grant another"]


def _walk(root: str, parts: list[str], trusted: Trusted) -> Iterator[str]:
    """What is wrong with each directory on the way, from / on.

    The slot's root counts as one of them, whether or not anything below it is asked for. Raises
    PathRefused where the walk cannot continue, and OSError with the path that it is about.
    """
    above = [part for part in root.split("/") if part]
    current = "/"
    fd = os.open(current, _STEP | os.O_DIRECTORY)
    try:
        mount = mount_of(fd)
        for index, part in enumerate([*above, *parts]):
            yield from _mistakes(fd, current, trusted, inside=index >= len(above))
            current = os.path.join(current, part)
            try:
                following = os.open(part, _STEP, dir_fd=fd)
            except OSError as error:
                error.filename = current
                raise
            os.close(fd)
            fd = following
            # Before the file itself is asked for anything, because its file system may not answer.
            if mount != (mount := mount_of(fd)):
                served = why_foreign_mount(mount, trusted)
                if served is not None:
                    raise PathRefused(f"{current} {served}, {_REMEDY}")
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                raise PathRefused(f"{current} is a symbolic link, which is not followed")
        if not parts:
            yield from _mistakes(fd, current, trusted, inside=True)
    finally:
        os.close(fd)


def _mistakes(fd: int, path: str, trusted: Trusted, *, inside: bool) -> Iterator[str]:
    """What is wrong with one directory on the way. ``inside``: it is the slot's root or below."""
    status = os.fstat(fd)
    if not stat.S_ISDIR(status.st_mode):
        return  # the next step fails, and its error says so
    why = why_writable(fd, status, trusted)
    if why is not None and (inside or not sticky_of_trusted(status, trusted)):
        yield f"{path} {why}, {_REMEDY}"
