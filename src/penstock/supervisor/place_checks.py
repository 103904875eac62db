"""Whether penstockd could use the places that its configuration names: looked at, nothing made.

make_directories (startup.py) makes them, and looks once more at what it then has. This is what can
be said before: by ``penstockd check``, and by a start before it changes anything.
"""

import os
import stat
from collections.abc import Collection, Iterator

from ..policy.configuration import Config
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
        if standpoint.cannot_see(path):
            unchecked.append(f"{key}: {path} cannot be seen by this user")
            continue
        try:
            mistakes += _mistakes(key, path, config, server_user, standpoint)
        except OSError as error:
            mistakes.append(f"{key}: {path}: {error.strerror}; correct it, or name another one")
    return mistakes, unchecked


def _mistakes(
    key: str, path: str, config: Config, server_user: User, standpoint: Standpoint
) -> Iterator[str]:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        yield from _cannot_be_made(key, path, config, standpoint)
        return
    status = os.stat(path)
    if key == "audit_log":
        if not stat.S_ISREG(status.st_mode):
            yield f"audit_log: {path} is no regular file; remove it, or name another one"
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
