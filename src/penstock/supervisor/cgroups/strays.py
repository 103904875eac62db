"""Finds processes of a job that another program has moved out of its groups, and moves them back.

Root can do that in each hierarchy separately. Out of a hierarchy that holds a limit, a process no
longer has that limit; out of the one that kills, neither a stop nor KILL reaches it. The supervisor
knows the job's main process, and all that the killing hierarchy lists. It cannot know any other
process that has left that one, because such a process looks like one of another program.
"""

import os
from collections.abc import Callable, Mapping
from typing import Final

from .group_files import GroupError, read_pids, write

# The name of the v2 hierarchy in /proc/<pid>/cgroup (proc(5)).
V2: Final = ""


def groups_of(pid: int | str) -> dict[str, str]:
    """A process's group by controller, from /proc/<pid>/cgroup; empty if the process is gone."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return {}
    return {name: path for _, names, path in lines for name in names.split(",")}


class Strays:
    """Strays of one job. ``homes`` are its directories by controller, V2 for the v2 mount."""

    def __init__(self, homes: Mapping[str, str], list_members: Callable[[], list[int]]) -> None:
        self._homes = dict(homes)
        self._list_members = list_members
        self._main = 0
        self._expected: dict[str, str] = {}

    def follow(self, main: int) -> None:
        """Names the main process, once it has entered; it must not be reaped before ``end``.

        Its groups count as the job's place, because /proc may show other paths than the mounts.
        """
        self._main = main
        groups = groups_of(main)
        for controller, directory in self._homes.items():
            path = groups.get(controller, "")
            if os.path.basename(path) == os.path.basename(directory):
                self._expected[controller] = path

    def end(self) -> None:
        """Ends the search, because the main process may be reaped and its pid reused now."""
        self._main = 0

    def found(self, controller: str | None = None) -> list[tuple[str, int]]:
        """Each directory with the pid of a process missing there, in one hierarchy or in all."""
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
        """Moves strays back as far as the kernel allows it, and returns their pids."""
        moved: list[int] = []
        for directory, pid in self.found(controller):
            try:
                write(f"{directory}/cgroup.procs", str(pid))
            except GroupError:  # it has ended, or its group has; the next look shows which
                continue
            moved.append(pid)
        return moved

    def _is_out(self, pid: int, controller: str) -> bool:
        path, expected = groups_of(pid).get(controller), self._expected[controller]
        if path is None or path == expected or path.startswith(f"{expected}/"):
            return False
        # Checked again, because v1 shows an ended process in the root group until it is reaped,
        # and because a process may have ended since it was listed, and its pid be reused.
        return not _has_ended(pid) and (pid == self._main or pid in self._list_members())


def _has_ended(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2][:1] in (b"Z", b"X")
    except OSError:
        return True
