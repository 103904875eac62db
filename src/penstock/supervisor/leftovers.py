"""What an earlier life has left, removed before anything else: processes first, then files.

The processes could write on otherwise, and what is written may be all that the disk has: whatever
needs room comes after this.
"""

from .cgroups import Hierarchy, Swept
from .logs.supervisor_log import log
from .storage import workdirs


def remove(hierarchy: Hierarchy | None, work_root: str) -> Swept:
    """Ends who is left in our groups and removes directories of jobs; says in the log what it was.

    The caller holds the locks of both. Without ``hierarchy`` keepers have ended their own. Raises
    GroupError and OSError.
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
