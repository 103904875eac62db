"""Records of jobs as a store is given them."""

from penstock.policy.limit_classes import Enforcement, ResourceLimits
from penstock.supervisor.ipc.started import HeldLimits, Started


def started(pid: int) -> Started:
    """What a start with this pid became."""
    return Started(
        pid=pid,
        start_ticks=1,
        started_ns=2,
        argv=("/bin/true",),
        class_name="small",
        limits=ResourceLimits(cpu_cores=0.1),
        held=HeldLimits((Enforcement("cpu", "enforced", "10000us"),)),
        grace_s=1,
    )
