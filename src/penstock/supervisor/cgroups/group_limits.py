"""What holds the limits of one group, of a job or of a client's jobs together: one interface.

``V1Limits`` (v1.py) has a directory in each v1 hierarchy, ``V2Limits`` (v2.py) the files of the
one directory that the killer has made. ``JobGroup`` and ``ClientGroups``, which hold groups, and
``LimitCheck``, which checks their limits, work with either.
"""

from collections.abc import Collection
from typing import Protocol

from ...policy.limit_classes import Enforcement, LimitName, ResourceLimits
from .control_files import ControlFiles


class GroupLimits(Protocol):
    """The limits of one group. Every call is synchronous and bounded."""

    paths: dict[str, str]
    """Directories of its own, by controller; none where they are the killer's directory."""
    entries: list[Enforcement]
    """What became of each limit, as of the last look; ``as_set``: when they were set."""
    as_set: tuple[Enforcement, ...]
    files: ControlFiles

    def create(self, limits: ResourceLimits, device: str | None) -> None:
        """Makes the directories and sets the limits. Raises GroupError; the caller must then
        ``remove``."""
        ...

    def set(self, limits: ResourceLimits, device: str | None) -> None:
        """Sets every limit and reads it back. Raises GroupError at the first that fails."""
        ...

    def lift(self, names: Collection[LimitName], device: str | None) -> None:
        """Removes these limits, as far as the group can have them. Raises GroupError."""
        ...

    def lift_quota(self) -> None:
        """Removes the CPU quota, so that the group may use all that its parent has. GroupError."""
        ...

    def usage_files(self) -> dict[str, str]:
        """Paths of the files with what the group has used, by name. Not every kernel has each."""
        ...

    def tasks_files(self) -> list[str]:
        """Files to which a process with one thread writes "0" to enter the group."""
        ...

    def remove(self) -> bool:
        """Removes what ``create`` made; False if the kernel still uses it: call again later."""
        ...
