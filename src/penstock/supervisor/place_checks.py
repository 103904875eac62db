"""Whether penstockd could use the places that its configuration names: looked at, nothing made.

make_directories (startup.py) makes them, and looks once more at what it then has. This is what can
be said before: by ``penstockd check``, and by a start before it changes anything.
"""

import os
import stat
from collections.abc import Collection, Iterator

from ..policy.configuration import Config
from .cgroups import base_mistakes, mounted, named_place
from .files.file_access import files_as
from .ipc.run_directory import directory_mistakes
from .standpoint import Standpoint
from .users.user_names import User


def place_mistakes(
    config: Config,
    server_user: User,
    standpoint: Standpoint,
    *,
    server: bool,
    wrong: Collection[str] = (),
) -> tuple[list[str], list[str]]:
    """Mistakes, each with the configuration's key and a remedy; and what cannot be looked at.

    ``wrong``: keys that are mistakes of the file already, so that their places are not meant.
    """
    places = {"run_dir": config.run_dir, "work_root": config.work_root}
    if server:
        places |= {"state_dir": config.state_dir, "audit_log": config.audit_log}
    if standpoint.root:
        places["supervisor_dir"] = config.supervisor_dir
    if "state_dir" in wrong:  # by default the others lie beside or below it
        places = {"run_dir": config.run_dir}
    mistakes: list[str] = []
    unchecked: list[str] = []
    for key in [key for key in places if key not in wrong]:
        path = places[key]
        within = path.startswith(f"{config.state_dir}/")
        if (
            key == "audit_log"
            and within
            and any(each.startswith("state_dir:") for each in mistakes)
        ):
            continue  # it would be the same mistake
        if standpoint.cannot_see(path):
            unchecked.append(f"{key}: {path} cannot be seen by this user")
            continue
        try:
            mistakes += _mistakes(key, path, config, server_user, standpoint)
        except OSError as error:
            mistakes.append(f"{key}: {path}: {error.strerror}; correct it, or name another one")
    return mistakes, unchecked


def group_mistakes(config: Config, standpoint: Standpoint) -> list[str]:
    """Why penstockd could not have its jobs in the group that ``cgroup_parent`` names.

    A delegated group is that of penstockd's own unit, so that is looked at as penstockd starts.
    """
    named = named_place(config.cgroup_parent)
    if named is None or not standpoint.root:
        return []
    try:
        return base_mistakes(mounted(), named, own=standpoint.own)
    except OSError as error:
        return [f"cgroup_parent: {error.filename}: {error.strerror}; name another group"]


def _mistakes(
    key: str, path: str, config: Config, server_user: User, standpoint: Standpoint
) -> Iterator[str]:
    if key in ("run_dir", "state_dir", "audit_log") and standpoint.own and standpoint.root:
        closed = _closed_to(server_user, path)
        if closed is not None:
            yield (
                f"{key}: the server cannot enter {closed}; let user {server_user.uid} pass, as by "
                "chmod o+x, or name a path elsewhere"
            )
            return
    try:
        os.lstat(path)  # not lexists, to which a path that is too long is one that is not there
    except (FileNotFoundError, NotADirectoryError):
        yield from _cannot_be_made(key, path, config, standpoint)
        return
    status = os.stat(path)
    if key == "audit_log":
        if os.path.islink(path) or not stat.S_ISREG(status.st_mode):
            yield f"audit_log: {path} is no regular file; remove it, or name another one"
        elif standpoint.own and not _is_writable(path, server_user, standpoint):
            yield (
                f"audit_log: the server cannot write {path}; chown it to user {server_user.uid} "
                "with mode 0600, where that user can reach it, or name another one"
            )
    elif not stat.S_ISDIR(status.st_mode):
        yield f"{key}: {path} is no directory; remove it, or name another one"
    elif key == "state_dir":
        if status.st_uid != server_user.uid or status.st_mode & 0o077:
            yield (
                f"state_dir: {path} is not the server's user's alone; chown "
                f"{server_user.uid}:{server_user.gid}, chmod 0700"
            )
    elif key == "run_dir":
        names = None if standpoint.own or os.access(path, os.R_OK) else ()
        yield from directory_mistakes(path, status, standpoint.uid, names)
    elif key == "work_root":
        if status.st_uid != standpoint.uid:
            yield f"work_root: {path} belongs to user {status.st_uid}; name another one"
        elif status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            yield f"work_root: {path} can be written by others; chmod go-w"
    elif status.st_uid != standpoint.uid or status.st_mode & 0o077 or os.path.islink(path):
        yield (
            f"supervisor_dir: {path} is not penstockd's user's alone; chown {standpoint.uid}, "
            "chmod 0700, or name another one"
        )


def _closed_to(user: User, path: str) -> str | None:
    """The directory on the way to the path that this user cannot enter, of those that are there."""
    above = os.path.dirname(path)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    parts = above.split("/")[1:]
    with files_as(user):
        for count in range(len(parts) + 1):
            each = "/" + "/".join(parts[:count])
            try:
                os.stat(os.path.join(each, "."))
            except PermissionError:
                return each
    return None


def _is_writable(path: str, server_user: User, standpoint: Standpoint) -> bool:
    """For the server, which opens it for reading and writing."""
    try:
        with files_as(server_user if standpoint.root else None):
            os.close(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    except PermissionError:
        return False
    return True


def _cannot_be_made(key: str, path: str, config: Config, standpoint: Standpoint) -> Iterator[str]:
    """Why what is missing could not be made in the nearest directory above it."""
    if key == "audit_log":
        if path.startswith(f"{config.state_dir}/") and os.path.dirname(path) == config.state_dir:
            return
        if not os.path.isdir(os.path.dirname(path)):
            yield f"audit_log: {os.path.dirname(path)} is no directory; create it"
            return
    above = os.path.dirname(path)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        yield f"{key}: {above} is no directory; remove it, or name another one"
    elif standpoint.own and not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        yield (
            f"{key}: {path} is not there, and penstockd's user cannot make it in {above}; "
            "create it, or name another one"
        )
