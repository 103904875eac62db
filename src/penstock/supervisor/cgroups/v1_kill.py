"""Killing and telling the end on pure v1: freeze, kill every member, thaw, again.

Frozen processes cannot fork, so one round over the list reaches all that were there
when the freeze was complete; new ones can only come before that, and the next round
gets them.
"""

import os

from .group_files import GroupError, read, write
from .v2_kill import kill_below, pids_below


class V1Killer:
    """The freezer directory of one group; made and removed with the other v1 directories."""

    def __init__(self, path: str) -> None:
        self.path = path

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
