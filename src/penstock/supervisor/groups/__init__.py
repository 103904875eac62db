"""Groups of processes with limits: cgroup v1, v2 and hybrid. ``detect`` finds the host's kind."""

from .clients import ClientTotals, group_name
from .files import GroupError
from .hierarchy import detect
from .kinds import Group, Hierarchy
from .mounts import block_device
from .sweeping import Swept

__all__ = [
    "ClientTotals",
    "Group",
    "GroupError",
    "Hierarchy",
    "Swept",
    "block_device",
    "detect",
    "group_name",
]
