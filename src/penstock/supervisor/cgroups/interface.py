"""The interface of groups and hierarchies, the same for every kind of kernel interface."""

from collections.abc import Mapping
from typing import Protocol

from ...policy.limit_classes import Enforcement, ResourceLimits
from ..kernel.clone3 import CgroupEntrance
from .client_groups import ClientTotals
from .limit_check import LimitCheck
from .sweeping import Swept


class Group(Protocol):
    """One job's group. Every call is synchronous and bounded, and made by one thread."""

    path: str
    """Its directory in the hierarchy that lists and kills its processes."""
    usage_files: dict[str, str]
    limit_check: LimitCheck
    """The check of its limits while the job runs."""

    @property
    def entries(self) -> list[Enforcement]:
        """How the job's own limits are held, as of the last look."""
        ...

    @property
    def client_entries(self) -> list[Enforcement]:
        """How its client's totals are held, as of the last look."""
        ...

    def entrance(self) -> CgroupEntrance:
        """How a child enters. The group owns its descriptors until close_entrance. GroupError."""
        ...

    def close_entrance(self) -> None:
        """Closes the entrance, once the child has entered or has failed to."""
        ...

    def notify_fd(self) -> int | None:
        """A descriptor that gets EPOLLPRI when ``populated`` changes. None on v1, where the caller
        must look again instead."""
        ...

    def kill_fd(self) -> int | None:
        """A new write descriptor of cgroup.kill, the caller's to close; None without one."""
        ...

    def follow(self, main: int) -> None:
        """Names the main process, which is inside now. The caller must not reap it before
        ``limit_check.end``, so that its pid stays its own."""
        ...

    def gather(self) -> list[int]:
        """Moves processes back that another program has moved out, and returns their pids.

        Only the main process is known to be the job's once it is outside.
        """
        ...

    def populated(self) -> bool:
        """Whether any process is in the group, or in a group below it."""
        ...

    def pids(self) -> list[int]:
        """Pids in the group, in the supervisor's numbering."""
        ...

    def kill(self) -> int:
        """Sends KILL to every process inside, and returns their number. May be repeated, because
        one round need not reach processes that are forked meanwhile."""
        ...

    def freeze(self, frozen: bool) -> None:
        """Asks the kernel to freeze all processes, or to thaw them; see ``frozen`` for the effect.

        Raises GroupError.
        """
        ...

    def frozen(self) -> bool:
        """Whether all processes stand still. Raises GroupError."""
        ...

    def thaw(self) -> list[str]:
        """Thaws all processes, also where another program has frozen them.

        Returns what was frozen, as texts for people. Raises GroupError for the first group that
        cannot be thawed, after the others were tried.
        """
        ...

    def counters(self) -> dict[str, float]:
        """The values of counters.COUNTED that the kernel has here; empty if the group is gone."""
        ...

    def remove(self) -> bool:
        """Removes the empty group from every hierarchy. False: the kernel still uses it, so the
        caller must try again."""
        ...


class Hierarchy(Protocol):
    """The groups of one penstockd on this host, all below its *base*: the group that its
    ``cgroup_parent`` names. ``kind`` is v1, v2 or hybrid; ``base_directory`` is the base in the
    hierarchy that kills."""

    kind: str
    base_directory: str

    def capabilities(self, device: str | None) -> list[Enforcement]:
        """For each limit, whether this host can hold it for jobs on this disk ("major:minor").

        Found once; cpu, memory and processes by a trial on a group made for that.
        """
        ...

    def create(
        self,
        name: str,
        limits: ResourceLimits,
        device: str | None,
        client: ClientTotals | None = None,
    ) -> Group:
        """Makes a group whose limits are set and read back. ``device`` is its disk's "major:minor".

        It is made in its client's group, which is made, limited and read back before; without a
        client it is made where the clients' groups are. Raises GroupError; only the client's group
        is left then.
        """
        ...

    def change_totals(self, totals: Mapping[str, ResourceLimits]) -> None:
        """Sets other limits for all jobs of a client together, by the names of clients' groups, as
        far as these are there: all or none.

        From then on the checks of their running jobs hold the new ones. Raises TotalRefused.
        """
        ...

    def kill_fd(self) -> int | None:
        """A new write descriptor of a cgroup.kill, the caller's to close; None without one.

        Writing 1 to it kills every job of this life, and none of any other (life_groups.py).
        """
        ...

    def kill_directory(self) -> str:
        """The base's directory where all jobs can be killed: in the v2 hierarchy, otherwise in
        the freezer's."""
        ...

    def sweep(self) -> Swept:
        """Kills and removes every group below the base, which is made if it is missing.

        Bounded: see Swept. Raises GroupError if the base cannot be made, or holds groups that
        are not penstock's.
        """
        ...

    def remove_base(self) -> None:
        """Removes the base and the clients' groups, as far as they are empty. Raises nothing."""
        ...
