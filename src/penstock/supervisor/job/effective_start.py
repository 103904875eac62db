"""What a granted start is in effect: policy, request and host together, until the job has ended."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...policy.limit_classes import (
    HOW_STORAGE_IS_HELD,
    STORAGE_LIMIT_NAMES,
    Enforcement,
    LimitClass,
    LimitName,
    ResourceLimits,
)
from ...policy.policy_file import Command
from ..ipc.started import HeldLimits, Started
from ..users.user_names import User
from .cgroup_processes import Processes


@dataclass(frozen=True, slots=True)
class MainProcess:
    """A job's main process, as STARTED names it."""

    pid: int
    start_ticks: int
    started_ns: int


@dataclass(frozen=True, slots=True)
class EffectiveStart:
    """``totals`` are the limits of all the client's jobs together, ``isolation`` what of it is
    held, ``user`` the one that it runs as; None: that of this process. ``quotas`` is what a quota
    of the file system holds (project_quota.py). ``client``: whose job it is."""

    command: Command
    argv: Sequence[str]
    timeout_s: float | None
    limit_class: LimitClass
    totals: LimitClass
    isolation: Sequence[Enforcement] = ()
    user: User | None = None
    quotas: Mapping[LimitName, Enforcement] = field(default_factory=dict)
    client: str = ""

    def held(self, processes: Processes) -> HeldLimits:
        """Which limits and isolation the kernel holds now. Limits of output are not among them,
        because the server's reader task keeps those."""
        asked = self.limit_class.limits.output_bytes_per_s
        output = Enforcement(
            "output",
            "unavailable" if asked is None else "enforced",
            "" if asked is None else str(asked),
            "no limit set" if asked is None else "kept by penstock itself",
        )
        together = processes.client_entries if self.totals.limits != ResourceLimits() else ()
        return HeldLimits(
            (*processes.entries, output, *self.storage(), *self.isolation), tuple(together)
        )

    def storage(self) -> list[Enforcement]:
        """The entries for what the job may have on the disk alone."""
        return [self._storage(name) for name in STORAGE_LIMIT_NAMES]

    def _storage(self, name: LimitName) -> Enforcement:
        asked = self.limit_class.limits.asked(name)
        if asked is None:
            return Enforcement(name, "unavailable", detail="no limit set")
        if name in self.quotas:
            return self.quotas[name]
        return Enforcement(name, "partial", str(asked), HOW_STORAGE_IS_HELD[name])

    def started(self, main: MainProcess, processes: Processes) -> Started:
        """What the start became. Made anew for each message instead of kept, because it would be
        most of what an idle job costs."""
        return Started(
            pid=main.pid,
            start_ticks=main.start_ticks,
            started_ns=main.started_ns,
            argv=tuple(self.argv),
            class_name=self.limit_class.name,
            limits=self.limit_class.limits,
            client_limits=self.totals.limits,
            held=self.held(processes),
            timeout_s=self.timeout_s,
            uid=os.geteuid() if self.user is None else self.user.uid,
            grace_s=self.command.grace_s,
            control=self.command.control,
            usage_files=processes.usage_files,
        )
