"""What must be right before anything is started; every mistake is found, not only the first.

An administrator who has one mistake reported at a time restarts penstockd once for each. So checks
collect their mistakes, and a StartupError has all that could be found by then.
"""

import contextlib
import os
import resource
import stat
from typing import Final

from ..policy.configuration import Config, check_server_user
from . import own_code
from .files import executables as exe
from .files.private_directory import check_private
from .ipc.run_directory import RunDirectory
from .users.user_names import User, UserError, own_user, resolve_user

# What a held job needs: two pipes, three ends of its input's, pidfd, cgroup.events (or a
# subreaper's two pipes and pidfd). While it starts, and while its STARTED waits to be sent, it
# needs more, for which the reserve is.
_DESCRIPTORS_PER_JOB: Final = 8
_RESERVED_DESCRIPTORS: Final = 400


class StartupError(Exception):
    """penstockd cannot start; each mistake says what is wrong and what to do."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def find_server_user(config: Config, *, root: bool, no_server: bool) -> User:
    """The user that the server runs as. Raises StartupError."""
    mistakes = check_server_user(config, root=root)
    if mistakes and not (no_server and config.server_user is None):
        raise StartupError(mistakes)
    if config.server_user is None:
        return own_user()
    try:
        user = resolve_user(config.server_user)
    except UserError as error:
        raise StartupError([f"server_user: {error}"]) from None
    if user.uid == 0 or user.gid == 0:
        raise StartupError(["server_user: the server must not run as root; name another user"])
    if user.uid in config.job_uids or user.gid in config.job_uids:
        raise StartupError(
            [
                f"server_user: {config.server_user!r} lies in job_uids, which are clients' own; "
                "name another user"
            ]
        )
    return user


def check_own_files(paths: tuple[str, ...], uid: int, *, code: bool = True) -> list[str]:
    """Mistakes of our own code and of ``paths``: only root and ``uid``, the user of penstockd, may
    write them. ``code``: this process runs the code that penstockd runs.

    Without root they may also be writable by the user's own group, because a umask of 002 makes
    files so.
    """
    found = list(own_code.DIRECTORIES) if code else []
    for directory in own_code.DIRECTORIES if code else ():
        for folder, folders, names in os.walk(directory):
            found += [os.path.join(folder, name) for name in (*folders, *names)]
    trusted = {0, uid}
    mistakes = []
    for path in (*found, *paths):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            continue  # a compiled file that was just replaced; of others opening reports it
        own_group = uid != 0 and status.st_gid == os.getegid()
        shared = status.st_mode & (0o002 if own_group else 0o022)
        if status.st_uid not in trusted or shared:
            mistakes.append(f"{path} can be written by others; chown it to root, chmod go-w")
    return mistakes


def replaceable(paths: tuple[str, ...]) -> list[str]:
    """Warnings for root of code and ``paths`` that another user could replace as a whole.

    They are no mistakes, so that a first try from a checkout in a user's home works.
    """
    directories = {
        os.path.dirname(os.path.realpath(path)) for path in (*own_code.DIRECTORIES, *paths)
    }
    directories.update(own_code.DIRECTORIES)
    found: set[str] = set()
    for directory in directories:
        # What is not there is no one's to replace; where it must be, another check reports it.
        with contextlib.suppress(OSError):
            found.update(exe.directory_mistakes(directory, frozenset({0})))
    return [f"penstockd's own files: {text}" for text in sorted(found)]


def make_directories(
    config: Config, server_user: User, *, root: bool, server: bool
) -> RunDirectory:
    """Makes, or checks, run_dir, work_root, supervisor_dir and, for a server, what it writes.

    Raises StartupError or OSError.
    """
    mistakes = _make_state(config, server_user) if server else []
    run_directory = RunDirectory(config, server_user, root=root)
    mistakes += run_directory.make()
    if root:
        mistakes += check_private("supervisor_dir", config.supervisor_dir)
    os.makedirs(config.work_root, mode=0o711, exist_ok=True)
    status = os.stat(config.work_root)
    if status.st_uid != os.geteuid():
        mistakes.append(
            f"work_root: {config.work_root} belongs to user {status.st_uid}; name another one"
        )
    elif status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        mistakes.append(f"work_root: {config.work_root} can be written by others; chmod go-w")
    if mistakes:
        raise StartupError(mistakes)
    run_directory.give()
    return run_directory


def _make_state(config: Config, server_user: User) -> list[str]:
    """Makes state_dir and the audit log for the server's user, which could make neither where only
    root may write. Returns the mistakes of what is there already."""
    mistakes = []
    if not os.path.lexists(config.state_dir):
        os.makedirs(os.path.dirname(config.state_dir), mode=0o755, exist_ok=True)
        os.mkdir(config.state_dir, 0o700)
        _give(os.open(config.state_dir, os.O_DIRECTORY | os.O_NOFOLLOW), server_user)
    status = os.stat(config.state_dir)
    if status.st_uid != server_user.uid or status.st_mode & 0o077:
        mistakes.append(
            f"state_dir: {config.state_dir} is not the server's user's alone; "
            f"chown {server_user.uid}:{server_user.gid}, chmod 0700"
        )
    make_audit_log(config, server_user)
    return mistakes


def make_audit_log(config: Config, server_user: User) -> None:
    """Makes one outside of state_dir that is not there. Raises OSError."""
    inside = config.audit_log.startswith(f"{config.state_dir}/")
    if not inside and not os.path.lexists(config.audit_log):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        _give(os.open(config.audit_log, flags, 0o600), server_user)


def _give(fd: int, user: User) -> None:
    """Gives an open file to a user, and closes it."""
    try:
        os.fchown(fd, user.uid, user.gid)
    finally:
        os.close(fd)


def needed_descriptors(config: Config) -> int:
    """How many descriptors all of max_jobs need at once."""
    return _RESERVED_DESCRIPTORS + _DESCRIPTORS_PER_JOB * config.max_jobs


def most_jobs(config: Config) -> int:
    """max_jobs, or as many as descriptors suffice for. Raises the soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(config.max_jobs, possible_jobs(hard))


def fewer_jobs(possible: int, wanted: int) -> list[str]:
    """A line if most_jobs is not ``max_jobs``, which was ``wanted``."""
    if possible >= wanted:
        return []
    return [
        f"at most {possible} jobs at once, not max_jobs = {wanted}, as RLIMIT_NOFILE admits no more"
    ]


def possible_jobs(hard: int) -> int:
    """How many jobs so many descriptors suffice for; 1 even if for none, so that one is tried."""
    return max(1, (hard - _RESERVED_DESCRIPTORS) // _DESCRIPTORS_PER_JOB)
