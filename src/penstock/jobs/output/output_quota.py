"""How much output is kept, what happens to the rest, and which logs share a bound."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from ...policy.output_policy import WhenFull
from .gaps import GapReason
from .output_log import OutputLog
from .segment_chain import SPLICE_BYTES
from .segment_index import StreamNumber

# Once bytes were refused, so much must be free before any are kept again. Otherwise a log at its
# bound would consist of tiny segments with tiny gaps between them.
_RESUME_BYTES: Final = 1024 * 1024
# Seconds between tries on a disk that was full, or failed, because it does not report new room.
DISK_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class OutputBound:
    """One job's bound: bytes on the disk, indexes included, and what to do when it is reached."""

    limit_bytes: int | None = None
    when_full: WhenFull = "drop_oldest"


class OutputBudget:
    """Bytes that several logs share: a client's budget, which is part of the server's.

    When none are left, ``reclaim`` is called with the budget that is full; it returns whether it
    has freed some.
    """

    def __init__(
        self,
        limit_bytes: int | None = None,
        parent: "OutputBudget | None" = None,
        reclaim: "Callable[[OutputBudget], bool] | None" = None,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._parent = parent
        self._reclaim = reclaim
        # One for all budgets, because what one client frees is room for another, too.
        self._freed: trio.lowlevel.ParkingLot
        self._freed = trio.lowlevel.ParkingLot() if parent is None else parent._freed

    @property
    def is_over(self) -> bool:
        """Whether more is used than may be, because the limit was larger before."""
        return self.limit_bytes is not None and self.used_bytes > self.limit_bytes

    def charge(self, count: int) -> None:
        """Counts ``count`` more bytes as used, or fewer if it is negative."""
        self.used_bytes += count
        if count < 0:
            self._freed.unpark_all()
        if self._parent is not None:
            self._parent.charge(count)

    def room_bytes(self) -> float:
        """How many bytes may still be used. Reclaims if there are none, so that it is below 1 only
        where nothing could be reclaimed."""
        return self._room_for(self)

    def _room_for(self, asking: "OutputBudget") -> float:
        room = float("inf")
        if self.limit_bytes is not None:
            while self.used_bytes >= self.limit_bytes and self._reclaim and self._reclaim(asking):
                pass
            room = self.limit_bytes - self.used_bytes
        # A client that has used up its own share gets no room from other clients.
        if room < 1 or self._parent is None:
            return room
        return min(room, self._parent._room_for(asking))

    def least_limit(self, own_bytes: int | None) -> int | None:
        """The smallest of the bounds that hold for a log whose own is ``own_bytes``."""
        limits = [own_bytes, self.limit_bytes]
        if self._parent is not None:
            limits.append(self._parent.least_limit(None))
        return min((limit for limit in limits if limit is not None), default=None)

    def wake(self) -> None:
        """Wakes the waiting jobs to try again, because something became reclaimable."""
        self._freed.unpark_all()

    async def wait_freed(self) -> None:
        """Returns when any log has freed bytes, or could be made to.

        Cancellation: atomic; C9.
        """
        await self._freed.park()


class MustWait(Exception):
    """By its policy the job must wait. ``on_disk``: for the disk, which must be tried again by the
    clock; otherwise for room in a budget, which wakes its waiters."""

    def __init__(self, *, on_disk: bool) -> None:
        super().__init__("the job waits for room for its output")
        self.on_disk = on_disk


class MustStop(Exception):
    """By its policy the job must stop. ``error`` is the disk's; None if a bound was reached."""

    def __init__(self, error: OSError | None) -> None:
        super().__init__("the job's output has reached its bound")
        self.error = error


class Intake:
    """Moves a job's bytes into its log, or discards them, as its bound says."""

    def __init__(
        self,
        log: OutputLog,
        bound: OutputBound,
        budget: OutputBudget,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """``clock`` returns monotonic seconds."""
        self.log = log
        self._bound = bound
        self._budget = budget
        self._clock = clock
        self._charged = 0
        self._refusing = False
        self._disk_error: OSError | None = None
        self._disk_again = -float("inf")

    def take(self, pipe_fd: int, stream: StreamNumber) -> int:
        """Takes what the pipe has now; returns how many bytes, 0 at end of file.

        Raises BlockingIOError (the pipe is empty), MustWait and MustStop (nothing was moved).
        """
        return self._take(pipe_fd, stream, self._bound.when_full)

    def take_last(self, pipe_fd: int, stream: StreamNumber) -> int:
        """As ``take``, for a job that has ended: bytes that cannot be kept are discarded."""
        when_full = self._bound.when_full
        if when_full in ("wait", "stop"):
            when_full = "drop_newest"
        return self._take(pipe_fd, stream, when_full)

    @property
    def refusing(self) -> bool:
        """Whether bytes are discarded at the moment."""
        return self._refusing

    async def wait_room(self, reason: MustWait) -> None:
        """Returns when another ``take`` may succeed.

        Cancellation: atomic; C9.
        """
        if reason.on_disk:
            await trio.sleep(DISK_AGAIN_S)
        else:
            await self._budget.wait_freed()

    def _take(self, pipe_fd: int, stream: StreamNumber, when_full: WhenFull) -> int:
        # Checked first, so that no output is dropped for bytes that do not come.
        waiting = self.log.disk.waiting(pipe_fd)
        if waiting is None:
            return 0
        if waiting == 0:
            raise BlockingIOError(errno.EAGAIN, "the pipe is empty")
        try:
            error: OSError | None = None
            room = self._room(when_full)
            if room >= 1:
                try:
                    moved = self._keep(pipe_fd, stream, int(min(room, SPLICE_BYTES)), when_full)
                except BlockingIOError:
                    raise
                except OSError as failed:
                    error = failed
                else:
                    self._refusing = False
                    return moved
            if when_full == "wait":
                raise MustWait(on_disk=error is not None)
            if when_full == "stop":
                raise MustStop(error)
            return self._discard(pipe_fd, "quota" if error is None else "disk")
        finally:
            self.settle()

    def _discard(self, pipe_fd: int, reason: GapReason) -> int:
        try:
            moved = self.log.discard(pipe_fd, reason)
        except BlockingIOError:
            raise
        except OSError as error:  # nothing can be done with them now
            raise MustWait(on_disk=True) from error
        self._refusing = True
        return moved

    def _keep(self, pipe_fd: int, stream: StreamNumber, most: int, when_full: WhenFull) -> int:
        """Moves bytes into the log, and drops the oldest ones for room where the policy says so.

        Raises OSError if the disk takes none now.
        """
        if self._disk_error is not None and self._clock() < self._disk_again:
            raise OSError(*self._disk_error.args)
        # More must be free after an error, because a disk that is nearly full would otherwise make
        # a gap a second.
        spare_bytes = 0 if self._disk_error is None else _RESUME_BYTES
        try:
            try:
                moved = self.log.move(pipe_fd, stream, most, spare_bytes=spare_bytes)
            except OSError as error:
                # If the disk is full, the oldest bytes make room, only a segment a try, because
                # another program may be filling it. For any other error deleting does not help.
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                if not (full and when_full == "drop_oldest" and self.log.drop_oldest()):
                    raise
                moved = self.log.move(pipe_fd, stream, most)
        except BlockingIOError:
            raise
        except OSError as error:
            self._disk_error = error
            self._disk_again = self._clock() + DISK_AGAIN_S
            raise
        self._disk_error = None
        return moved

    def _room(self, when_full: WhenFull) -> float:
        self.settle()
        room = self._free()
        if when_full == "drop_oldest":
            while room < 1 and self.log.drop_oldest():
                self.settle()
                room = self._free()
        if self._refusing and self._disk_error is None:
            limit = self._budget.least_limit(self._bound.limit_bytes)
            least = _RESUME_BYTES if limit is None else min(_RESUME_BYTES, limit // 8)
            if room < least:
                return 0
        return room

    def _free(self) -> float:
        limit = self._bound.limit_bytes
        own = float("inf") if limit is None else limit - self.log.stored_bytes
        return own if own < 1 else min(own, self._budget.room_bytes())

    def settle(self) -> None:
        """Charges the budget with what the log stores now. ``take`` does it by itself."""
        change = self.log.stored_bytes - self._charged
        if change:
            self._charged = self.log.stored_bytes
            self._budget.charge(change)
