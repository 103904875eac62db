"""The threads that hash what ended jobs have written, and how long a disk may let them wait.

Hashing takes time in proportion to the bytes, and that is no fault. A disk that gives no bytes at
all is one, because the job's end waits for it, and so does a client that has stopped the job. So
the bound is not on the time of hashing, but on the time in which nothing moves.
"""

import errno
from collections.abc import Callable
from typing import Final

import trio

from ...concurrency.interrupts import uninterrupted_methods
from .digest import Digest

# At once. No more, because they share a disk and some processors.
DIGEST_THREADS: Final = 4
# Seconds in which no byte was read. After them ``on_stall`` is called, and the job stays `ending`.
# As long as a caller may wait for a record (job.RECORD_PATIENCE_S).
STALL_S: Final = 10.0
# After so many the job ends without a digest: four times what a disk may stand still without loss.
GIVE_UP_S: Final = 120.0
_LOOK_S: Final = 1.0


@uninterrupted_methods
class Hashing:
    """The hashing threads of one job manager. Other work that may wait for the outputs' disk uses
    ``limiter`` too."""

    def __init__(self) -> None:
        # Their own limiter, so that a disk which stands still takes no threads of other tasks.
        self.limiter = trio.CapacityLimiter(DIGEST_THREADS)
        self._under_way: set[Digest] = set()
        self._done_bytes = 0

    async def sha256(self, digest: Digest, on_stall: Callable[[], None]) -> str:
        """As Digest.sha256, in a thread. Raises OSError, also where nothing moved for GIVE_UP_S.

        ``on_stall`` is called once nothing has moved for STALL_S; the hashing may still succeed
        then. Cancelled, or given up, the thread cannot be stopped, so it keeps one of the
        DIGEST_THREADS places until the disk answers.

        Cancellation: minimum cleanup; C8, C29.
        """
        self._under_way.add(digest)
        found = ""
        wrong: OSError | None = OSError(errno.ETIMEDOUT, "its disk gives no byte of it")
        try:
            # Scope S5.hashing.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, digest, on_stall, nursery.cancel_scope)
                try:
                    found = await trio.to_thread.run_sync(
                        digest.sha256, abandon_on_cancel=True, limiter=self.limiter
                    )
                    wrong = None
                except OSError as error:
                    wrong = error
                # Cancels S5.hashing.
                nursery.cancel_scope.cancel()
        finally:
            self._under_way.discard(digest)
            self._done_bytes += digest.hashed_bytes
        if wrong is not None:
            raise wrong
        return found

    async def _watch(
        self, digest: Digest, on_stall: Callable[[], None], waiting: trio.CancelScope
    ) -> None:
        moved, since = self._moved(digest), trio.current_time()
        stalled = False
        while True:
            await trio.sleep(_LOOK_S)
            now = trio.current_time()
            before, moved = moved, self._moved(digest)
            if moved != before:
                since = now
            elif now - since >= GIVE_UP_S:
                # Cancels S5.hashing.
                waiting.cancel()
                return
            elif now - since >= STALL_S and not stalled:
                stalled = True
                on_stall()

    def _moved(self, digest: Digest) -> tuple[bool, int]:
        """A value that changes as long as there is progress: this digest's bytes, or those of all
        digests while it waits for a thread."""
        if digest.begun:
            return True, digest.hashed_bytes
        return False, self._done_bytes + sum(each.hashed_bytes for each in self._under_way)
