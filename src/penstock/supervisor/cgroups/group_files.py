"""Reading and writing cgroup files. Every error has the path and the value, for operators."""

import os
from typing import Final

# What one read(2) of a cgroup file gives; the files of limits are far shorter.
_PAGE_BYTES: Final = 4096


class GroupError(Exception):
    """The kernel refused a value or does not hold it; the text has the path and the value."""


def read(path: str) -> str:
    """The file's text without surrounding white space. Raises GroupError."""
    try:
        # Not open(), because it takes twice as long, and these reads are much of a start's cost.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _rest(fd)
        finally:
            os.close(fd)
    except (OSError, UnicodeDecodeError) as error:
        raise GroupError(f"reading {path}: {_why(error)}") from error


def write(path: str, value: str) -> None:
    """One write(2), as these files want it. Raises GroupError."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode("ascii"))
        finally:
            os.close(fd)
    except OSError as error:
        raise GroupError(f"writing {value!r} to {path}: {error.strerror}") from error


def put(path: str, value: str) -> str:
    """Writes, and returns the text that the file has then, at most a page. Raises GroupError."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode("ascii"))
            return os.pread(fd, _PAGE_BYTES, 0).decode("ascii").strip()
        finally:
            os.close(fd)
    except (OSError, UnicodeDecodeError) as error:
        raise GroupError(f"writing {value!r} to {path}: {_why(error)}") from error


def make_directory(path: str) -> None:
    """Makes a group whose parent exists. Raises GroupError; its cause is FileNotFoundError where
    the parent is missing, so that the caller can make that first."""
    try:
        os.mkdir(path)
    except OSError as error:
        raise GroupError(f"making {path}: {error.strerror}") from error


def _rest(fd: int) -> str:
    """Reads to the end, in a loop because the kernel gives long files a page at a time."""
    data = b""
    while part := os.read(fd, 65536):
        data += part
    return data.decode("ascii").strip()


def _why(error: OSError | UnicodeDecodeError) -> str | None:
    return error.strerror if isinstance(error, OSError) else "not ASCII"


def read_pids(path: str) -> list[int]:
    """The pids in a cgroup.procs file; empty if the group is gone."""
    try:
        with open(path, encoding="ascii") as file:
            return [int(line) for line in file.read().split()]
    except OSError:
        return []


def pids_below(path: str) -> list[int]:
    """Pids in a group and in all groups below it; empty where the group is gone."""
    return [
        pid
        for directory, _, _ in os.walk(path)
        for pid in read_pids(os.path.join(directory, "cgroup.procs"))
    ]


def remove_tree(path: str) -> bool:
    """Removes a group and the groups below it. False if the kernel is not done with one yet."""
    if _remove(path):
        return True
    try:
        with os.scandir(path) as entries:
            names = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return True
    except OSError:
        return False
    # A list, so that every one is tried. A group of leaves alone has been tried already.
    return bool(names) and all([remove_tree(name) for name in names]) and _remove(path)


def _remove(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
