"""Groups of processes with limits: cgroup v1, v2 and hybrid. ``detect`` finds the host's kind.

Imports ``kernel`` and ``policy``. Begin with ``hierarchy`` (theory of operation) and ``interface``.
A group is put together from ``group_limits`` (``v1``, ``v2``) and a ``killer`` (``v1_kill``,
``v2_kill``) in ``job_group``.
"""

from .cgroup_mounts import Mounts, block_device, mounted
from .client_groups import ClientTotals, TotalRefused, group_name
from .delegation import find_place, named_place
from .group_files import GroupError
from .hierarchy import base_mistakes, detect, detect_below
from .interface import Group, Hierarchy
from .life_groups import new_life
from .limit_check import LimitChange, LimitCheck
from .nesting import locked_around, locked_below, nesting_mistake
from .signalling import signal_members
from .sweeping import Swept

__all__ = [
    "ClientTotals",
    "Group",
    "GroupError",
    "Hierarchy",
    "LimitChange",
    "LimitCheck",
    "Mounts",
    "Swept",
    "TotalRefused",
    "base_mistakes",
    "block_device",
    "detect",
    "detect_below",
    "find_place",
    "group_name",
    "locked_around",
    "locked_below",
    "mounted",
    "named_place",
    "nesting_mistake",
    "new_life",
    "signal_members",
]
