"""Kills a group on pure v1, by rounds of freeze, KILL to every member, thaw.

Theory of operation. v1 has neither ``cgroup.kill`` nor a report of the end, only the freezer. Its
``freezer.state`` moves a group between three states:

    THAWED ── "FROZEN" is written ──▶ FREEZING ── the last process stands still ──▶ FROZEN
    FREEZING, FROZEN ── "THAWED" is written ──▶ THAWED

One call of ``kill`` is one round, and ends THAWED, because on v1 a frozen process dies of KILL only
once it runs. The supervisor calls it again while ``populated`` is true; nothing reports the end, so
``notify_fd`` is None and the caller looks again by its clock. ``freeze`` and ``frozen`` are for
pausing a job. V1Limits makes and removes the directory with its others, so ``create`` and
``remove`` do nothing here. All calls are made by the supervisor's one thread.

The race that shaped it: a process forks between the reading of the list and its KILL. Frozen
processes cannot fork, so a round reaches every process that was there when the freeze was complete.
The kernel freezes asynchronously, however, and a process in uninterruptible sleep keeps a group in
FREEZING, perhaps for hours. So ``kill`` waits for FROZEN only a bounded number of looks and then
kills those that are listed. Processes that were forked before the freeze was complete are in the
next round.
"""

import contextlib
import os

from .group_files import GroupError, pids_below, read, write
from .signalling import kill_below
from .thawing import thaw


class V1Killer:
    """A Killer in the freezer directory of one group, which V1Limits makes and removes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.controller = "freezer"

    def create(self) -> None:
        """Does nothing, because V1Limits makes the directory."""

    def usage_files(self) -> dict[str, str]:
        """Empty, because the freezer counts nothing."""
        return {}

    def procs_file(self) -> str | None:
        """None, because a process enters by the tasks files of V1Limits."""
        return None

    def notify_fd(self) -> int | None:
        """None, because v1 reports no end; the caller must look again."""
        return None

    def kill_fd(self) -> int | None:
        """None, because v1 has no cgroup.kill."""
        return None

    def pids(self) -> list[int]:
        """Pids in this group and in the groups below it."""
        return pids_below(self.path)

    def populated(self) -> bool:
        """Whether any process is listed, here or below."""
        return bool(self.pids())

    def freeze(self, frozen: bool) -> None:
        """Asks for FROZEN or THAWED; ``frozen`` reports the effect. Raises GroupError."""
        write(os.path.join(self.path, "freezer.state"), "FROZEN" if frozen else "THAWED")

    def frozen(self) -> bool:
        """Whether the freeze is complete: False while FREEZING. Raises GroupError."""
        return read(os.path.join(self.path, "freezer.state")) == "FROZEN"

    def kill(self) -> int:
        """One round of killing; returns how many processes there were. Raises GroupError.

        Bounded, because after an incomplete freeze the caller only needs another round.
        """
        state = os.path.join(self.path, "freezer.state")
        count = len(self.pids())
        try:
            write(state, "FROZEN")
            # Several looks, because the kernel freezes asynchronously; usually one is enough.
            for _ in range(100):
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
        """Thaws this group and those above it up to ``top``, because a frozen process dies only
        once it runs. Raises nothing."""
        with contextlib.suppress(GroupError):
            thaw(self.path, top)

    def remove(self) -> bool:
        """True, because V1Limits removes the directory."""
        return True
