"""What every kind of group can do, whatever kernel interface stands behind it."""

from typing import Protocol

from ...policy.limit_classes import Enforcement, ResourceLimits
from ..kernel.clone3 import CgroupEntrance
from .client_groups import ClientTotals
from .limit_look import LimitLook
from .sweeping import Swept


class Group(Protocol):
    """One job's group. Everything here is synchronous and bounded."""

    path: str
    """Its directory in the hierarchy that knows who is in it."""
    usage_files: dict[str, str]
    look: LimitLook
    """At its limits, while it runs."""

    @property
    def entries(self) -> list[Enforcement]:
        """Of its own limits, as of the last look."""
        ...

    @property
    def client_entries(self) -> list[Enforcement]:
        """Of its client's."""
        ...

    def entrance(self) -> CgroupEntrance:
        """How a child gets inside; the group's own until close_entrance. Raises GroupError."""
        ...

    def close_entrance(self) -> None:
        """The child has entered or will not."""
        ...

    def notify_fd(self) -> int | None:
        """Becomes ready with EPOLLPRI when ``populated`` changes; None where the kind has none."""
        ...

    def kill_fd(self) -> int | None:
        """A new write descriptor of cgroup.kill, the caller's to close; None without one."""
        ...

    def follow(self, main: int) -> None:
        """The main process is inside now, and is not reaped until ``look.end``."""
        ...

    def gather(self) -> list[int]:
        """Who was moved out of the group by others is brought back, as far as that is known: the
        main process. Which these were."""
        ...

    def populated(self) -> bool:
        """Is any process in the group?"""
        ...

    def pids(self) -> list[int]:
        """Pids in the group, in the supervisor's numbering."""
        ...

    def kill(self) -> int:
        """Sends KILL to everything inside; how many processes there were. May be repeated."""
        ...

    def freeze(self, frozen: bool) -> None:
        """Asks the kernel to make all stand still, or run on. Raises GroupError."""
        ...

    def frozen(self) -> bool:
        """Do all stand still? Raises GroupError."""
        ...

    def thaw(self) -> list[str]:
        """Lets all run on, whoever has frozen them, and where; what was in the way, for people.
        Raises GroupError; what else could be thawed is."""
        ...

    def counters(self) -> dict[str, float]:
        """Those of counters.COUNTED that the kernel counts here; none if the group is gone."""
        ...

    def remove(self) -> bool:
        """Removes the empty group everywhere. False: the kernel is not done with it, try again."""
        ...


class Hierarchy(Protocol):
    """The groups of one penstock on this host. ``kind`` is v1, v2 or hybrid; ``parent`` the
    directory that they are in, of the hierarchy that kills."""

    kind: str
    parent: str

    def capabilities(self, device: str | None) -> list[Enforcement]:
        """Per limit, what this host can do for jobs that work on this disk, "major:minor" or None:
        found out once, cpu, memory and processes by trying."""
        ...

    def create(
        self,
        name: str,
        limits: ResourceLimits,
        device: str | None,
        client: ClientTotals | None = None,
    ) -> Group:
        """A group with its limits set and read back. ``device`` is "major:minor" of the disk.

        It is made in its client's group, which is made, limited and read back before; without a
        client in the own parent. Raises GroupError; nothing is left behind then but the client's.
        """
        ...

    def kill_fd(self) -> int | None:
        """A new write descriptor of a cgroup.kill, the caller's to close: 1 ends every job of this
        life, and none of any other (life_groups.py). None without one."""
        ...

    def kill_directory(self) -> str:
        """The own parent where all of its jobs can be killed: in the v2 hierarchy, else in the
        freezer's."""
        ...

    def sweep(self) -> Swept:
        """Kills and removes every group below the own parent, which is made if need be.

        Bounded: see Swept. Raises GroupError if the parent cannot be made, or holds groups that
        are not penstock's.
        """
        ...

    def remove_parent(self) -> None:
        """Removes the own parent and the clients' groups, as far as they are empty."""
        ...
