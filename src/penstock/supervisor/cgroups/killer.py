"""What ends a job's processes and knows when there are none: one interface, of two kernels' ways.

``V2Killer`` has the kernel's own: one write to ``cgroup.kill`` ends all at once, and
``cgroup.events`` tells when the group empties. ``V1Killer`` has the freezer alone: it freezes,
kills each member, and thaws, because a frozen process cannot fork away from a round of killing.
``JobGroup`` asks neither which one it is: where they differ, the interface has a name for it.
"""

from typing import Protocol


class Killer(Protocol):
    """Of one group. Everything here is synchronous and bounded."""

    path: str
    """Its directory, in the hierarchy that this killer kills in."""
    controller: str
    """What /proc/<pid>/cgroup calls that hierarchy."""

    def create(self) -> None:
        """Makes the directory, where it is the killer's own and none that holds limits.

        Raises GroupError; then it is not there, or was there before.
        """
        ...

    def usage_files(self) -> dict[str, str]:
        """What the kernel counts in that directory, besides what the controllers count."""
        ...

    def procs_file(self) -> str | None:
        """What a process enters the group by; None where the files of the limits do that too."""
        ...

    def notify_fd(self) -> int | None:
        """EPOLLPRI when the group may have become empty; None where nothing tells."""
        ...

    def kill_fd(self) -> int | None:
        """A new descriptor, the caller's to close: writing 1 to it kills all. None without one."""
        ...

    def populated(self) -> bool:
        """Is any process inside, in this group or below?"""
        ...

    def pids(self) -> list[int]:
        """Members, and those of groups below."""
        ...

    def kill(self) -> int:
        """KILL to all inside; how many there were. Raises GroupError."""
        ...

    def let_die(self, top: str) -> None:
        """After ``kill``: what keeps the killed from dying is undone, from the own parent ``top``
        on down. Raises nothing."""
        ...

    def freeze(self, frozen: bool) -> None:
        """Asks for all to stand still, or run on. Raises GroupError."""
        ...

    def frozen(self) -> bool:
        """Do all stand still? Raises GroupError."""
        ...

    def remove(self) -> bool:
        """Frees what ``create`` has made; False if the kernel is not done with it yet."""
        ...
