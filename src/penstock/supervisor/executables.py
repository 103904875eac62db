"""Executables by identity: opened and checked when the policy is read, run by that descriptor."""

import os
import stat
from dataclasses import dataclass
from typing import Final

_ELF: Final = b"\x7fELF"


class ExecutableError(Exception):
    """This file must not be run; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Executable:
    """An open, checked file. ``fd`` is O_PATH-free and close-on-exec."""

    path: str
    fd: int
    identity: tuple[int, ...]

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self.fd)

    def is_current(self) -> bool:
        """Does the path still name this very file, as it was checked?

        A replaced file is refused rather than run in its old form: the operator meant
        the new one, and a reload checks it.
        """
        try:
            return _identity(os.stat(self.path)) == self.identity
        except OSError:
            return False


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Which file it is and, by its change time, whether anything of it has changed since.

    Nobody can set a change time back, so a file that was rewritten in place, even by who had
    come to own it, is another one; owner and mode stand here for what has a coarse clock.
    """
    return (
        *(status.st_dev, status.st_ino, status.st_uid, status.st_gid, status.st_mode),
        *(status.st_size, status.st_ctime_ns),
    )


def open_executable(path: str, owners: frozenset[int]) -> Executable:
    """Opens what ``path`` names now. Raises ExecutableError, naming every mistake.

    The file must be a regular ELF file, executable, owned by one of ``owners``, and
    not writable by group or others. So must every directory on the way be, or
    else it could be swapped.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ExecutableError(f"{path}: {error.strerror}") from None
    try:
        status = os.fstat(fd)
        mistakes = _mistakes(status, owners)
        if not mistakes and os.pread(fd, 4, 0) != _ELF:
            mistakes.append(
                "is no ELF file; grant a script as its interpreter, with the script in `fixed`"
            )
        mistakes += directory_mistakes(os.path.dirname(os.path.realpath(path)), owners)
        if mistakes:
            raise ExecutableError(f"{path}: {'; '.join(mistakes)}")
        return Executable(path, fd, _identity(status))
    except BaseException:
        os.close(fd)
        raise


def _mistakes(status: os.stat_result, owners: frozenset[int]) -> list[str]:
    if not stat.S_ISREG(status.st_mode):
        return ["is no regular file"]
    mistakes = []
    if status.st_uid not in owners:
        mistakes.append(f"belongs to user {status.st_uid}; chown it to root")
    if status.st_mode & 0o022:
        mistakes.append("can be written by others; chmod go-w")
    if not status.st_mode & 0o111:
        mistakes.append("is not executable; chmod +x")
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        mistakes.append("is set-uid or set-gid, which no_new_privs makes useless; grant another")
    return mistakes


def directory_mistakes(directory: str, owners: frozenset[int]) -> list[str]:
    """Who but ``owners`` could replace what is in an absolute, resolved directory."""
    mistakes = []
    while True:
        status = os.stat(directory)
        shared = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
        if status.st_uid not in owners or shared:
            mistakes.append(f"others can replace it, as they can write {directory}")
        if directory == "/":
            return mistakes
        directory = os.path.dirname(directory)
