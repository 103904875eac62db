"""Ends a job's processes and reports when none is left: one interface for two kernel interfaces.

``V2Killer`` uses the kernel's own means: one write to ``cgroup.kill`` ends all at once, and
``cgroup.events`` reports when the group is empty. ``V1Killer`` has only the freezer: it freezes,
kills each member and thaws, because a frozen process cannot fork away from a round of killing.
``JobGroup`` works with either, because the interface has a method for each difference.
"""

from typing import Protocol


class Killer(Protocol):
    """Kills and lists the processes of one group. Every call is synchronous and bounded."""

    path: str
    """The group's directory in the hierarchy that this killer uses."""
    controller: str
    """The name of that hierarchy in /proc/<pid>/cgroup."""

    def create(self) -> None:
        """Makes the directory, unless it is one that holds limits, which V1Limits makes.

        Raises GroupError; then the directory does not exist, or existed before.
        """
        ...

    def usage_files(self) -> dict[str, str]:
        """Files with what the kernel counts in that directory besides the controllers' counts."""
        ...

    def procs_file(self) -> str | None:
        """The file by which a process enters; None where it enters by the limits' files instead."""
        ...

    def notify_fd(self) -> int | None:
        """Gets EPOLLPRI when the group may have become empty; None where the kernel has no such."""
        ...

    def kill_fd(self) -> int | None:
        """A new descriptor, the caller's to close; writing 1 to it kills all. None without one."""
        ...

    def populated(self) -> bool:
        """Whether any process is in this group or in one below it."""
        ...

    def pids(self) -> list[int]:
        """Pids in this group and in the groups below it."""
        ...

    def kill(self) -> int:
        """Sends KILL to all inside; returns how many there were. Raises GroupError."""
        ...

    def let_die(self, top: str) -> None:
        """Called after ``kill``: thaws from the base, ``top``, on down, because a frozen process
        cannot die on v1. Raises nothing."""
        ...

    def freeze(self, frozen: bool) -> None:
        """Asks the kernel to freeze all processes, or to thaw them. Raises GroupError."""
        ...

    def frozen(self) -> bool:
        """Whether all processes stand still. Raises GroupError."""
        ...

    def remove(self) -> bool:
        """Frees what ``create`` made; False if the kernel still uses it: call again later."""
        ...
