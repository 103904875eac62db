"""Groups of processes with limits: cgroup v1, v2 and hybrid. ``detect`` finds the host's kind."""

from .files import GroupError
from .hierarchy import detect
from .kinds import Group, Hierarchy
from .mounts import block_device
from .signalling import signal_members

__all__ = ["Group", "GroupError", "Hierarchy", "block_device", "detect", "signal_members"]
