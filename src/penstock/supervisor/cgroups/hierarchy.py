"""The three kinds of host, put together from what sets limits and what kills.

Theory of operation. A host has one of three arrangements, and ``detect_below`` says which:

    kind      the limits are held by                  processes are listed and killed by
    v2        V2Limits, files of the one directory    V2Killer, in that same directory
    hybrid    V1Limits, a directory a hierarchy       V2Killer, a directory in the v2 mount
    v1        V1Limits, a directory a hierarchy       V1Killer, V1Limits's freezer directory

*Hybrid* means that the controllers are on v1 and a v2 mount without controllers is beside them, as
older service managers leave it. Killing needs no controller, so the v2 mount does it there too: its
``cgroup.kill`` is one write and its ``cgroup.events`` reports the end, where v1 has to freeze and
look again. ``_parts`` alone decides which parts make which kind; JobGroup combines a GroupLimits
and a Killer, and works with either of each.

Levels below each mount: the *base* (what ``cgroup_parent`` names, or was delegated), life
(life_groups.py), client (client_groups.py), job. Each call is synchronous. They are made by the
supervisor's one thread, but for limits that were changed from outside: a child of LimitRounds
writes those files anew. Other programs with root's rights can change groups at any time, and that
is the race which shaped this file. A directory above may be gone between making it and using it:
``create`` then finds FileNotFoundError, makes the levels above the job anew, with the client's
limits, and tries once more. A limit is believed only as read back (GroupLimits), and read again
while the job runs (LimitCheck). A job is born inside its group (kernel/clone3.py) or enters it
before exec, after every limit is set: it never runs outside.
"""

import functools
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from ...policy.limit_classes import (
    GROUP_LIMIT_NAMES,
    Enforcement,
    ResourceLimits,
    held_without_groups,
)
from .cgroup_mounts import Mounts, mounted, parse
from .client_groups import ClientGroups, ClientTotals, is_job_id, is_ours
from .group_files import GroupError, remove_tree
from .group_limits import GroupLimits
from .interface import Group, Hierarchy
from .job_group import JobGroup
from .killer import Killer
from .nesting import locked_below, nesting_mistake
from .probing import try_limit
from .sweeping import Swept, foreign_group, sweep
from .v1 import CONTROLLERS as V1_NEEDED
from .v1 import NO_DISK, V1Limits
from .v1_kill import V1Killer
from .v2 import CONTROLLERS as V2_NEEDED
from .v2 import V2Limits, enable_controllers
from .v2_kill import V2Killer


class CgroupHierarchy:
    """Makes groups below ``base`` in every hierarchy that this kind of host uses.

    With a ``life`` (life_groups.py) they are below the group of that name. ``sweep`` and
    ``remove_base`` act on all that the base has, because earlier lives have left groups there.
    """

    def __init__(self, kind: str, mounts: Mounts, base: str, life: str = "") -> None:
        self.kind = kind
        self._mounts = mounts
        self._base = base
        self._above_clients = f"{base}/{life}" if life else base
        self.base_directory = self._directories(base)[0]
        self._capabilities: list[Enforcement] | None = None
        self._clients = ClientGroups(kind, mounts, self._above_clients)
        # The life's own group comes later, because this place may be another penstockd's.
        self._enable(base)

    def capabilities(self, device: str | None) -> list[Enforcement]:
        if self._capabilities is None:  # once, because the host does not change meanwhile
            self._capabilities = self._find_capabilities(device)
        return list(self._capabilities)

    def _find_capabilities(self, device: str | None) -> list[Enforcement]:
        names = self._mounts.v2_controllers if self.kind == "v2" else frozenset(self._mounts.v1)
        disk = "io" if self.kind == "v2" else "blkio"
        needs = dict(zip(GROUP_LIMIT_NAMES, ("cpu", "memory", disk, disk, "pids"), strict=True))
        found = []
        for limit, controller in needs.items():
            if controller not in names:
                found.append(
                    Enforcement(limit, "unavailable", detail=f"no {controller} controller")
                )
            elif controller == disk and device is None:
                found.append(Enforcement(limit, "unavailable", detail=NO_DISK))
            elif controller == "blkio":
                found.append(Enforcement(limit, "partial", detail="direct I/O only (cgroup v1)"))
            elif controller == "io":
                found.append(Enforcement(limit, "enforced"))
            else:
                found.append(try_limit(self.create, limit))
        return found + held_without_groups()

    def create(
        self,
        name: str,
        limits: ResourceLimits,
        device: str | None,
        client: ClientTotals | None = None,
    ) -> Group:
        if not is_job_id(name):
            raise GroupError(f"{name!r} is not a job id")
        try:
            return self._create(name, limits, device, client)
        except GroupError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        # Another process has removed a group above, or it was never made: it is made now.
        self._clients.forget()
        self._make_above_clients()
        return self._create(name, limits, device, client)

    def change_totals(self, totals: Mapping[str, ResourceLimits]) -> None:
        self._clients.change(totals)

    def _create(
        self, name: str, limits: ResourceLimits, device: str | None, client: ClientTotals | None
    ) -> Group:
        parent = self._above_clients
        held: GroupLimits | None = None
        if client is not None:
            held = self._clients.hold(client, device)
            parent = f"{parent}/{client.name}"
            if self.kind != "v2":
                limits = _within(limits, client.limits)
        own, killer = self._parts(parent, name)
        killer.create()
        try:
            _limit(own, limits, device)
        except BaseException:
            own.remove()
            killer.remove()
            raise
        # Beside a v2 mount penstock has no groups in v1's freezer hierarchy, but another
        # program's group there may hold a job's processes.
        freezer = _freezer_mount() if self._mounts.v2 is not None else None
        enable = partial(self._enable, parent)
        return JobGroup(own, killer, held, enable, self.kill_directory(), freezer)

    def _parts(self, parent: str, name: str) -> tuple[GroupLimits, Killer]:
        """The limits and the killer of a new group. The three kinds differ in nothing else."""
        v2, v1 = self._mounts.v2, self._mounts.v1
        if v2 is None:
            limits = V1Limits(v1, parent, name, self._mounts.v1_used())
            return limits, V1Killer(limits.paths["freezer"])
        killer = V2Killer(f"{v2}{parent}/{name}")
        if self.kind == "v2":
            return V2Limits(killer.path), killer
        return V1Limits(v1, parent, name, self._mounts.v1_used()), killer

    def _enable(self, parent: str) -> None:
        """Enables the controllers down to ``parent``. Raises GroupError.

        Only v2 needs it, because each directory of v1 has its hierarchy's files.
        """
        if self.kind == "v2" and self._mounts.v2 is not None:
            enable_controllers(self._mounts.v2, parent)

    def _directories(self, path: str) -> list[str]:
        """Of the group ``path``: one in each hierarchy, the one that kills first."""
        return [root + path for root in self._mounts.roots(self.kind)]

    def _make_above_clients(self) -> None:
        """Makes the base and the life's group in every hierarchy. Raises GroupError."""
        for directory in self._directories(self._above_clients):
            try:
                os.makedirs(directory, exist_ok=True)
            except OSError as error:
                raise GroupError(f"making {directory}: {error.strerror}") from error
        self._enable(self._above_clients)

    def kill_fd(self) -> int | None:
        if self._mounts.v2 is None:
            return None
        try:
            path = f"{self._mounts.v2}{self._above_clients}/cgroup.kill"
            return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:  # before Linux 5.14
            return None

    def kill_directory(self) -> str:
        top = self._mounts.v2 if self._mounts.v2 is not None else self._mounts.v1["freezer"]
        return top + self._base

    def sweep(self) -> Swept:
        self._clients.forget()
        swept = sweep(self._directories(self._base), is_ours)
        # Now, so that a failure is reported at the start and not to the first client.
        self._make_above_clients()
        return swept

    def remove_base(self) -> None:
        self._clients.forget()
        for directory in self._directories(self._base):
            remove_tree(directory)  # one that is not empty stays for the next sweep


def _limit(own: GroupLimits, limits: ResourceLimits, device: str | None) -> None:
    """Creates the group's limits. Raises GroupError; the caller removes what was made."""
    try:
        own.create(limits, device)
    except (OSError, ValueError) as error:
        raise GroupError(f"setting limits: {error}") from error


def _within(limits: ResourceLimits, total: ResourceLimits) -> ResourceLimits:
    """``limits`` with no more CPU than ``total``, because v1 refuses a group more than its parent
    has (tg_cfs_schedulable_down in kernel/sched/core.c)."""
    if limits.cpu_cores is None or total.cpu_cores is None:
        return limits
    return replace(limits, cpu_cores=min(limits.cpu_cores, total.cpu_cores))


@functools.cache  # where it is mounted does not change while this process lives
def _freezer_mount() -> str | None:
    """The mount of the whole v1 freezer hierarchy, not only of penstock's part; None if none."""
    return mounted().v1.get("freezer")


def detect(base: str, mountinfo: str | None = None) -> Hierarchy | None:
    """As detect_below, with this host's mounts. ``base`` is a path below each, "/penstock"."""
    return detect_below(mounted() if mountinfo is None else parse(mountinfo), base)


def detect_below(mounts: Mounts, base: str, life: str = "") -> Hierarchy | None:
    """The hierarchy of this host's kind, or None where this process may not make groups.

    v2 where its mount has the controllers; otherwise v1, with the v2 mount beside it where there
    is one (hybrid). ``life`` is a name of life_groups.new_life, for a penstockd that runs jobs.
    Raises GroupError.
    """
    kind = usable_kind(mounts)
    if kind is None or not all(_writable(root + base) for root in mounts.roots(kind)):
        return None
    return CgroupHierarchy(kind, mounts, base, life)


def base_mistakes(mounts: Mounts, base: str, *, own: bool = True) -> list[str]:
    """Why penstockd could not begin with this base: looked at, nothing made. ``own``: this process
    has the rights of penstockd."""
    kind = usable_kind(mounts)
    groups = [] if kind is None else [root + base for root in mounts.roots(kind)]
    for group in groups:
        try:
            os.lstat(group)  # not isdir, to which a name that is too long is one that is not there
        except FileNotFoundError:
            pass
        except OSError as error:
            return [f"cgroup_parent: {group}: {error.strerror}; name another group"]
    if not groups or (own and not all(map(_writable, groups))):
        where = mounts.v2 if mounts.v2 is not None else "no v2 mount"
        controllers = ", ".join(sorted(mounts.v2_controllers)) or "none"
        return [
            "cgroup_parent: no cgroup hierarchy can be written; mount cgroups read-write for "
            "penstockd, with cpu, memory, io and pids in the v2 mount or on v1 "
            f"({where}: {controllers})"
        ]
    foreign = foreign_group(groups, is_ours)
    if foreign is None:
        return []
    for group in groups:  # it may be another penstockd's, which says more
        if (other := locked_below(group)) is not None:
            return [nesting_mistake(group, "around", other)]
    return [foreign]


def usable_kind(mounts: Mounts) -> str | None:
    """v2 where its mount has the controllers; otherwise v1, or hybrid with the v2 mount beside it.
    None: these mounts cannot confine jobs."""
    if mounts.v2 is not None and mounts.v2_controllers.issuperset(V2_NEEDED):
        return "v2"
    if not mounts.v1.keys() >= set(V1_NEEDED):
        return None
    if mounts.v2 is None and "freezer" not in mounts.v1:
        return None
    return "hybrid" if mounts.v2 is not None else "v1"


def _writable(path: str) -> bool:
    """Whether this process may make a directory at ``path``, or below it if it exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return os.access(path, os.W_OK, effective_ids=True)
