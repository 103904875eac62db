"""Executables by identity: opened and checked when the policy is read, run by that descriptor.

A path is only a name, and what it means can change between the check and exec. A descriptor cannot:
so the file that was checked is the file that runs. If another file has taken the path since,
program_files.py decides what becomes of that.
"""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_ELF: Final = b"\x7fELF"
_REMEDIES: Final[Mapping[int | None, str]] = {
    errno.ENOENT: "install it, or name another one",
    errno.EACCES: "let penstockd's user read it, or name another one",
}
_MOST_LINKS: Final = 40  # as the kernel follows on one way, path_resolution(7)


class ExecutableError(Exception):
    """This file must not be run; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Executable:
    """An open, checked file. ``fd`` is open for reading, not O_PATH, and close-on-exec."""

    path: str
    fd: int
    identity: tuple[int, ...]

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self.fd)

    def is_current(self) -> bool:
        """Does the path still name this very file, as it was checked?"""
        try:
            return identity_of(os.stat(self.path)) == self.identity
        except OSError:
            return False


def describe(path: str, identity: tuple[int, ...]) -> str:
    """An identity for people and for the audit log; equal only if the identities are."""
    device, inode, uid, gid, mode, size, changed_ns = identity
    changed = datetime.fromtimestamp(changed_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return (
        f"{path}: inode {inode} of device {os.major(device)}:{os.minor(device)}, {size} bytes, "
        f"user {uid}, group {gid}, mode {mode & 0o7777:o}, changed "
        f"{changed}.{changed_ns % 10**9:09}Z"
    )


def identity_of(status: os.stat_result) -> tuple[int, ...]:
    """Which file it is and, by its change time, whether anything of it has changed since.

    No user can set a change time back. So a file that was rewritten in place is another one, even
    if a user rewrote it that had come to own it. Owner and mode are here for file systems whose
    clock is too coarse to show a quick change.
    """
    return (
        *(status.st_dev, status.st_ino, status.st_uid, status.st_gid, status.st_mode),
        *(status.st_size, status.st_ctime_ns),
    )


def open_executable(path: str, owners: frozenset[int]) -> Executable:
    """Opens what ``path`` names now. Raises ExecutableError, naming every mistake.

    The file must be a regular ELF file, executable, owned by one of ``owners``, and not writable by
    group or others. So must be every directory on the way; otherwise the file could be swapped.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        status = os.fstat(fd)
        mistakes = file_mistakes(status, owners)
        if not mistakes and not status.st_mode & 0o111:
            mistakes.append("is not executable; chmod +x")
        if not mistakes and os.pread(fd, 4, 0) != _ELF:
            mistakes.append(
                "is no ELF file; grant a script as its interpreter, with the script in `fixed`"
            )
        mistakes += way_mistakes(path, owners)
        if mistakes:
            raise ExecutableError(f"{path}: {'; '.join(mistakes)}")
        return Executable(path, fd, identity_of(status))
    except OSError as error:  # the disk's, or a directory was taken away since the file was opened
        os.close(fd)
        raise _unusable(path, error) from None
    except BaseException:
        os.close(fd)
        raise


def _unusable(path: str, error: OSError) -> ExecutableError:
    remedy = _REMEDIES.get(error.errno, "name another one")
    return ExecutableError(f"{path}: {error.strerror}; {remedy}")


def file_mistakes(status: os.stat_result, owners: frozenset[int]) -> list[str]:
    """Why an untrusted user could decide a file's content, or why the file is none that is run."""
    if not stat.S_ISREG(status.st_mode):
        return ["is no regular file; name another one"]
    mistakes = []
    if status.st_uid not in owners:
        mistakes.append(f"belongs to user {status.st_uid}; chown it to root")
    if status.st_mode & 0o022:
        mistakes.append("can be written by others; chmod go-w")
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        mistakes.append("is set-uid or set-gid, which no_new_privs makes useless; grant another")
    return mistakes


def way_mistakes(path: str, owners: frozenset[int]) -> list[str]:
    """Which users but ``owners`` could make an absolute path name another file.

    Every directory on the way counts, and every symbolic link with the directory that it is in.
    Raises OSError.
    """
    mistakes: dict[str, None] = {}
    current, waiting, links = "/", path.split("/")[::-1], 0
    while waiting:
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            current = os.path.dirname(current)
            continue
        following = os.path.join(current, part)
        status = os.lstat(following)
        if not stat.S_ISLNK(status.st_mode):
            current = following
            continue
        links += 1
        if links > _MOST_LINKS:
            mistakes["leads through too many symbolic links; name what they lead to"] = None
            break
        if status.st_uid not in owners:
            text = f"leads through {following}, a link of user {status.st_uid}'s"
            mistakes[f"{text}; chown -h it to root, or name what it leads to"] = None
        mistakes |= dict.fromkeys(directory_mistakes(current, owners))
        target = os.readlink(following)
        if target.startswith("/"):
            current = "/"
        waiting += target.split("/")[::-1]
    mistakes |= dict.fromkeys(directory_mistakes(os.path.dirname(current), owners))
    return list(mistakes)


def directory_mistakes(directory: str, owners: frozenset[int]) -> list[str]:
    """Which users but ``owners`` could replace what is in an absolute, resolved directory."""
    mistakes = []
    while True:
        status = os.stat(directory)
        shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in owners or shared:
            mistakes.append(
                f"others can replace it, as they can write {directory}; chown that to root and "
                "chmod go-w, or name another one"
            )
        if directory == "/":
            return mistakes
        directory = os.path.dirname(directory)
