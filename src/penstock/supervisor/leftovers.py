"""What an earlier life has left, removed before anything else: processes first, then files.

Processes first, because they could write on otherwise. Before anything else, because what they have
written may be all that the disk has, and the next steps of a start need room.
"""

from .cgroups import Hierarchy, Swept
from .logs.supervisor_log import log
from .storage import workdirs


def remove(hierarchy: Hierarchy | None, work_root: str) -> Swept:
    """Ends the processes that are left in our groups, removes directories of jobs, and logs both.

    The caller holds the locks of both. Without ``hierarchy`` there are no groups, and subreapers
    have ended their own jobs. Raises GroupError and OSError.
    """
    swept = Swept()
    if hierarchy is not None:
        swept = hierarchy.sweep()
        if swept != Swept():
            log(
                f"removed the groups of {len(swept.jobs)} jobs of an earlier life, "
                f"{swept.processes} processes killed: {' '.join(swept.jobs)}"
            )
        for path in swept.left:
            log(f"{path} of an earlier life cannot be removed: its processes do not die")
    workdirs.sweep(work_root)
    return swept
