"""Finds out whether this host can hold a limit, by a trial on a group made for that."""

import uuid
from collections.abc import Callable
from typing import Final

from ...policy.limit_classes import Enforcement, LimitName, ResourceLimits
from .group_files import GroupError
from .interface import Group

# Values that every kernel accepts if it has the limit at all.
_TRIED: Final[dict[LimitName, ResourceLimits]] = {
    "cpu": ResourceLimits(cpu_cores=0.5),
    "memory": ResourceLimits(memory_bytes=2**26),
    "processes": ResourceLimits(processes=16),
}

Create = Callable[[str, ResourceLimits, str | None], Group]


def try_limit(create: Create, limit: LimitName) -> Enforcement:
    """The limit's state and detail, without a value, which would only be that of the trial.

    For cpu, memory and processes alone, because a disk limit depends on the job's disk.
    """
    try:
        group = create(uuid.uuid4().hex, _TRIED[limit], None)
    except GroupError as error:
        return Enforcement(limit, "unavailable", detail=str(error))
    became = next(entry for entry in group.entries if entry.limit == limit)
    group.remove()  # no process was ever in it; if it stays anyway, the next sweep removes it
    return Enforcement(limit, became.state, detail=became.detail)
