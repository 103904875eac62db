"""Processes of a job that somebody has moved out of its groups: found, and brought back.

Root can do that in each hierarchy by itself. In one that holds a limit such a process has that
limit no more; in the one that kills it hears neither a stop nor KILL. Known are the job's main
process, and all that the hierarchy which kills lists: who else has left that one cannot be told
from a process of others.
"""

import os
from collections.abc import Callable, Mapping
from typing import Final

from .group_files import GroupError, read_pids, write

# What proc(5) calls the v2 hierarchy in /proc/<pid>/cgroup.
V2: Final = ""


def groups_of(pid: int | str) -> dict[str, str]:
    """By controller, as proc(5) has it in /proc/<pid>/cgroup; none if the process is gone."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return {}
    return {name: path for _, names, path in lines for name in names.split(",")}


class Strays:
    """Of one job. ``homes`` are its directories by controller, V2 for the v2 mount."""

    def __init__(self, homes: Mapping[str, str], list_members: Callable[[], list[int]]) -> None:
        self._homes = dict(homes)
        self._list_members = list_members
        self._main = 0
        self._expected: dict[str, str] = {}

    def follow(self, main: int) -> None:
        """It has entered, and is not reaped before ``end``. Where it is counts as the job's place,
        as /proc may see other paths than the mounts do."""
        self._main = main
        groups = groups_of(main)
        for controller, directory in self._homes.items():
            path = groups.get(controller, "")
            if os.path.basename(path) == os.path.basename(directory):
                self._expected[controller] = path

    def end(self) -> None:
        """There is nobody to look for any more."""
        self._main = 0

    def found(self, controller: str | None = None) -> list[tuple[str, int]]:
        """Directory and pid of who should be there and is not; of one hierarchy, or of all."""
        if not self._main:
            return []
        members = {self._main, *self._list_members()}
        out = [
            (self._homes[key], pid)
            for key in self._expected
            if controller in (None, key)
            for pid in sorted(members.difference(read_pids(f"{self._homes[key]}/cgroup.procs")))
            if self._is_out(pid, key)
        ]
        return list(dict.fromkeys(out))  # some hosts mount two controllers together

    def bring_back(self, controller: str | None = None) -> list[int]:
        """Whoever can be; which these were."""
        moved: list[int] = []
        for directory, pid in self.found(controller):
            try:
                write(f"{directory}/cgroup.procs", str(pid))
            except GroupError:  # it has ended, or its group has; who looks again sees it
                continue
            moved.append(pid)
        return moved

    def _is_out(self, pid: int, controller: str) -> bool:
        path, expected = groups_of(pid).get(controller), self._expected[controller]
        if path is None or path == expected or path.startswith(f"{expected}/"):
            return False
        # v1 shows a process that has ended in the root group until it is reaped. And it may have
        # ended since it was listed, and its number be another's.
        return not _has_ended(pid) and (pid == self._main or pid in self._list_members())


def _has_ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in (b"Z", b"X")
    except OSError:
        return True
