"""On what terms a job runs, as the server is told."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...policy.limit_classes import (
    HOW_STORAGE_IS_HELD,
    STORAGE_LIMIT_NAMES,
    Enforcement,
    LimitClass,
    LimitName,
    ResourceLimits,
)
from ...policy.policy_file import Command
from ..users.user_names import User
from .cgroup_processes import Processes


@dataclass(frozen=True, slots=True)
class Terms:
    """``totals`` are of all the client's jobs together, ``isolation`` what of it is held, ``user``
    whom it runs as; None: as this process. ``quotas`` is what a quota of the file system holds
    (project_quota.py)."""

    command: Command
    argv: Sequence[str]
    timeout_s: float | None
    limit_class: LimitClass
    totals: LimitClass
    isolation: Sequence[Enforcement] = ()
    user: User | None = None
    quotas: Mapping[LimitName, Enforcement] = field(default_factory=dict)

    def enforcement(self, processes: Processes) -> list[Enforcement]:
        """Of every limit and isolation; output is kept by the server's own reader task."""
        asked = self.limit_class.limits.output_bytes_per_s
        output = Enforcement(
            "output",
            "unavailable" if asked is None else "enforced",
            "" if asked is None else str(asked),
            "no limit set" if asked is None else "kept by penstock itself",
        )
        return [*processes.enforcement, output, *self.storage(), *self.isolation]

    def storage(self) -> list[Enforcement]:
        """Of what it may have on the disk alone."""
        return [self._storage(name) for name in STORAGE_LIMIT_NAMES]

    def _storage(self, name: LimitName) -> Enforcement:
        asked = self.limit_class.limits.asked(name)
        if asked is None:
            return Enforcement(name, "unavailable", detail="no limit set")
        if name in self.quotas:
            return self.quotas[name]
        return Enforcement(name, "partial", str(asked), HOW_STORAGE_IS_HELD[name])

    def client_enforcement(self, processes: Processes) -> list[Enforcement]:
        """Of ``totals``; empty where they limit nothing."""
        return processes.client_enforcement if self.totals.limits != ResourceLimits() else []

    def fields(self, processes: Processes) -> dict[str, Any]:
        """Of STARTED. Not kept by anybody, as they are most of what an idle job would cost."""
        return {
            "argv": self.argv,
            "uid": os.geteuid() if self.user is None else self.user.uid,
            "class": self.limit_class.name,
            "limits": self.limit_class.limits.fields(),
            "enforcement": [entry.fields() for entry in self.enforcement(processes)],
            "client_limits": self.totals.limits.fields(),
            "client_enforcement": [entry.fields() for entry in self.client_enforcement(processes)],
            "usage": processes.usage_files,
            "grace_s": self.command.grace_s,
            "timeout_s": self.timeout_s,
            "control": self.command.control.fields(),
        }
