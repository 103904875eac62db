"""What kinds of cgroups the groups' code can be shown on this host."""

from pathlib import Path

from penstock.supervisor.cgroups import mounted
from penstock.supervisor.cgroups.v2 import CONTROLLERS


def host_kinds() -> list[str]:
    """The host's own kind, and v1 where that is all of it but the v2 mount."""
    mounts = mounted()
    if mounts.v2 is None:
        return ["v1"]
    return ["v2"] if mounts.v2_controllers.issuperset(CONTROLLERS) else ["hybrid", "v1"]


def mountinfo(kind: str) -> str:
    """This host's mounts; for v1 without the cgroup2 ones."""
    text = Path("/proc/self/mountinfo").read_text()
    lines = [line for line in text.splitlines() if kind != "v1" or " - cgroup2 " not in line]
    return "\n".join(lines)
