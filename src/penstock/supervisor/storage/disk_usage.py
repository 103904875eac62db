"""What a job takes of the disk: counted, a slice at a time, by looking at its directories.

Theory of operation. The job changes its directories meanwhile, and a hostile one tries not to be
counted. So nothing is looked up by a whole path, no symbolic link is followed, and the descriptor
of each directory on the way is kept until all below it was seen, so that renaming one changes
nothing. Files that have lost their names are counted by the processes that hold them.
"""

import contextlib
import os
import signal
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Self

from ..cgroups.group_files import pids_below
from ..kernel import proc_tree
from .unlinked_files import nameless

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
# stat(2): st_blocks counts these, whatever the file system's own are.
_BLOCK_BYTES: Final = 512
# One descriptor each while a walk is under way. No honest program's tree is so deep.
MOST_LEVELS: Final = 100
# How often a directory is looked for by its inode when its name is gone: a job may rename it.
_RENAMED_TRIES: Final = 5
# Entries between two pauses, at which the looker sees whether it has time left.
_STEP: Final = 32


@dataclass(frozen=True, slots=True)
class Watched:
    """A job whose disk use is bounded: which directories, how much, and where its processes are.

    ``storage_bytes`` and ``files`` are None where that is not limited. ``group`` is the directory
    of its cgroup; without one, "", its processes are those below ``subreaper``.
    """

    id: str
    directories: tuple[str, ...]
    storage_bytes: int | None
    files: int | None
    group: str = ""
    subreaper: int = 0

    def fields(self) -> dict[str, object]:
        """By name, for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """The job that ``fields`` was made of, out of JSON."""
        return cls(**fields | {"directories": tuple(fields["directories"])})

    def members(self) -> list[int]:
        """Pids of the job; none if that cannot be known."""
        if self.group:
            return pids_below(self.group)
        return sorted(proc_tree.descendants(self.subreaper)) if self.subreaper else []


@dataclass(slots=True)
class Used:
    """What was counted so far: bytes of blocks, and entries.

    An entry is whatever has a name (files, directories, links), and a file that has lost it.
    """

    storage_bytes: int = 0
    files: int = 0
    too_deep: bool = False
    seen: set[tuple[int, int]] = field(default_factory=set)
    """Device and inode of files that may be met again by another name or descriptor."""

    def over(self, watched: Watched) -> bool:
        """Is it more than the job may have? A tree that is too deep to be counted is."""
        return (
            self.too_deep
            or (watched.storage_bytes is not None and self.storage_bytes > watched.storage_bytes)
            or (watched.files is not None and self.files > watched.files)
        )

    def count(self, status: os.stat_result, *, entry: bool) -> None:
        """Counts a file's blocks once, however many names and descriptors it has."""
        self.files += entry
        if status.st_nlink != 1 and not stat.S_ISDIR(status.st_mode):
            inode = (status.st_dev, status.st_ino)
            if inode in self.seen:
                return
            self.seen.add(inode)
        self.storage_bytes += status.st_blocks * _BLOCK_BYTES


def died_of_length(status: int | None) -> bool:
    """Did the kernel end a process for writing beyond RLIMIT_FSIZE? ``status`` is that of wait(2).

    A shell whose child was ended so passes it on as its own exit status.
    """
    ends = (signal.SIGXFSZ, (128 + signal.SIGXFSZ) << 8)
    return status is not None and status & ~0x80 in ends  # 0x80: it has dumped core


def walk(watched: Watched, used: Used) -> Iterator[None]:
    """Counts into ``used``, and yields now and then, so that its caller can pause it.

    Closing it frees its descriptors. Directories that cannot be looked at are left out, because
    without root a job can close its own to us. Raises OSError if this process is out of
    descriptors.
    """
    owners: set[tuple[int, int]] = set()
    for directory in watched.directories:
        yield from _below(directory, used, owners)
    # Only files of the job's user, on the disks of its directories: libraries that were replaced
    # since have no names either, but they are root's.
    for status in nameless(watched.members()):
        if status is None:
            yield
        elif (status.st_dev, status.st_uid) in owners and (
            (status.st_dev, status.st_ino) not in used.seen
        ):
            used.count(status, entry=True)


def _below(top: str, used: Used, owners: set[tuple[int, int]]) -> Iterator[None]:
    levels: list[tuple[int, list[tuple[str, int]]]] = []
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            fd = os.open(top, _DIRECTORY)
            levels.append((fd, []))
            status = os.fstat(fd)
            owners.add((status.st_dev, status.st_uid))
            used.count(status, entry=False)
            yield from _entries(fd, levels[-1][1], used)
        while levels:
            fd, directories = levels[-1]
            if not directories:
                levels.pop()
                os.close(fd)
                continue
            name, inode = directories.pop()
            if len(levels) > MOST_LEVELS:
                used.too_deep = True
                return
            inner = _open(name, inode, fd)
            if inner is not None:
                levels.append((inner, []))
                yield from _entries(inner, levels[-1][1], used)
    finally:
        for fd, _ in levels:
            os.close(fd)


def _entries(fd: int, directories: list[tuple[str, int]], used: Used) -> Iterator[None]:
    """Counts what is in one directory, and lists those in it."""
    try:
        entries = os.scandir(fd)
    except PermissionError:
        return
    with entries:
        for number, entry in enumerate(entries):
            if number % _STEP == 0:
                yield
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:  # gone, or renamed: one of the next looks counts it
                used.files += 1
                continue
            used.count(status, entry=True)
            if stat.S_ISDIR(status.st_mode):
                directories.append((entry.name, status.st_ino))


def _open(name: str, inode: int, directory: int) -> int | None:
    """Opens a directory by its name, or by the name that its inode has now; None if it is gone."""
    for _ in range(_RENAMED_TRIES):
        try:
            return os.open(name, _DIRECTORY, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            with os.scandir(directory) as entries:
                found = next((each.name for each in entries if each.inode() == inode), None)
            if found is None:
                return None
            name = found
        except PermissionError:
            return None
    return None
