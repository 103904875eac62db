"""What holds the limits of one group, of a job or of a client's jobs together: one interface.

``V1Limits`` (v1.py) has a directory in each v1 hierarchy, ``V2Limits`` (v2.py) the files of the
one directory that the killer has made. Who holds a group (``JobGroup``, ``ClientGroups``) or looks
at its limits (``LimitLook``) does not ask which of the two it is.
"""

from typing import Protocol

from ...policy.limit_classes import Enforcement, ResourceLimits
from .control_files import ControlFiles


class GroupLimits(Protocol):
    """Of one group. Everything here is synchronous and bounded."""

    paths: dict[str, str]
    """Directories of its own, by controller; none where they are the killer's directory."""
    entries: list[Enforcement]
    """What became of each limit, as of the last look; ``as_set``: when they were set."""
    as_set: tuple[Enforcement, ...]
    files: ControlFiles

    def create(self, limits: ResourceLimits, device: str | None) -> None:
        """Makes its directories and sets the limits. Raises GroupError; the caller removes."""
        ...

    def set(self, limits: ResourceLimits, device: str | None) -> None:
        """Sets every limit and reads it back. Raises GroupError."""
        ...

    def lift_quota(self) -> None:
        """The group may use all the CPU that the one above it has. Raises GroupError."""
        ...

    def usage_files(self) -> dict[str, str]:
        """What says how much the group uses; not every kernel has every file."""
        ...

    def tasks_files(self) -> list[str]:
        """What a process with one thread writes "0" to, so that it is inside."""
        ...

    def remove(self) -> bool:
        """Removes what ``create`` has made; False if the kernel is not done with it yet."""
        ...
