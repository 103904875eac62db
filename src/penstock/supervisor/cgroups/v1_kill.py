"""Killing and telling the end on pure v1: freeze, kill every member, thaw, again.

Frozen processes cannot fork, so one round over the list reaches all that were there
when the freeze was complete; new ones can only come before that, and the next round
gets them.
"""

import contextlib
import os

from .group_files import GroupError, pids_below, read, write
from .signalling import kill_below
from .thawing import thaw


class V1Killer:
    """The freezer directory of one group; V1Limits makes and removes it with its others."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.controller = "freezer"

    def create(self) -> None:
        """V1Limits makes it."""

    def usage_files(self) -> dict[str, str]:
        """The freezer counts nothing."""
        return {}

    def procs_file(self) -> str | None:
        """V1Limits has its tasks file."""
        return None

    def notify_fd(self) -> int | None:
        """v1 tells nothing, so the caller looks again."""
        return None

    def kill_fd(self) -> int | None:
        """v1 has no cgroup.kill."""
        return None

    def pids(self) -> list[int]:
        """Members, and those of groups below."""
        return pids_below(self.path)

    def populated(self) -> bool:
        """Is anybody listed?"""
        return bool(self.pids())

    def freeze(self, frozen: bool) -> None:
        """Raises GroupError."""
        write(os.path.join(self.path, "freezer.state"), "FROZEN" if frozen else "THAWED")

    def frozen(self) -> bool:
        """Not while it is FREEZING. Raises GroupError."""
        return read(os.path.join(self.path, "freezer.state")) == "FROZEN"

    def kill(self) -> int:
        """One round. Bounded: an incomplete freeze only means another round."""
        state = os.path.join(self.path, "freezer.state")
        count = len(self.pids())
        try:
            write(state, "FROZEN")
            for _ in range(
                100
            ):  # the kernel freezes asynchronously; usually the first look is enough
                if read(state) == "FROZEN":
                    break
            kill_below(self.path)
        finally:
            try:
                write(state, "THAWED")
            except GroupError:
                if os.path.exists(state):
                    raise
        return count

    def let_die(self, top: str) -> None:
        """A frozen process dies only once it runs; groups above this one may be frozen, too."""
        with contextlib.suppress(GroupError):
            thaw(self.path, top)

    def remove(self) -> bool:
        """V1Limits removes it."""
        return True
