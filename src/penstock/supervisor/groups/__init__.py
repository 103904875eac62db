"""Groups of processes with limits: cgroup v1, v2 and hybrid. ``detect`` finds the host's kind."""

from .clients import ClientTotals, group_name
from .files import GroupError
from .hierarchy import detect, detect_below
from .kinds import Group, Hierarchy
from .limit_look import LimitChange, LimitLook
from .lives import new_life
from .mounts import Mounts, block_device, mounted
from .nesting import locked_around, locked_below
from .own import find_place
from .signalling import signal_members
from .sweeping import Swept

__all__ = [
    "ClientTotals",
    "Group",
    "GroupError",
    "Hierarchy",
    "LimitChange",
    "LimitLook",
    "Mounts",
    "Swept",
    "block_device",
    "detect",
    "detect_below",
    "find_place",
    "group_name",
    "locked_around",
    "locked_below",
    "mounted",
    "new_life",
    "signal_members",
]
