"""Reading and writing cgroup files; every error carries the path and the value."""

import os


class GroupError(Exception):
    """The kernel did not take or does not hold something; the text says where and what."""


def read(path: str) -> str:
    """The file's text without surrounding white space. Raises GroupError."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError as error:
        raise GroupError(f"reading {path}: {error.strerror}") from error


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


def read_pids(path: str) -> list[int]:
    """The pids in a cgroup.procs file; empty if the group is gone."""
    try:
        with open(path, encoding="ascii") as file:
            return [int(line) for line in file.read().split()]
    except OSError:
        return []


def flat(text: str) -> dict[str, int]:
    """A flat-keyed file such as cpu.stat: one "key number" a line; other lines are left out."""
    found = {}
    for line in text.splitlines():
        key, _, value = line.rpartition(" ")
        if key and value.isdigit():
            found[key] = int(value)
    return found


def remove_tree(path: str) -> bool:
    """Removes a group and the groups below it. False if the kernel is not done with one yet."""
    try:
        names = [entry.path for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return True
    complete = all([remove_tree(name) for name in names])  # every one is tried
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return complete
    except OSError:
        return False
    return complete
