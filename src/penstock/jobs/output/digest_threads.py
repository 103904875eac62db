"""The threads that hash what ended jobs have written, and how long a disk may let them wait.

Hashing takes as long as there are bytes, and that is no fault. A disk that gives none of them is
another thing: the job's end waits for it, and so does whoever has stopped the job. So it is not the
time that is bounded but the time in which nothing moves.
"""

import errno
from collections.abc import Callable
from typing import Final

import trio

from ...concurrency.interrupts import uninterrupted_methods
from .digest import Digest

# At once. More would not be faster: they share a disk and some processors.
DIGEST_THREADS: Final = 4
# In which no byte was read. Then whoever waits for the end is told, and the job stays `ending`: as
# long as anybody may wait for a record (job.RECORD_PATIENCE_S).
STALL_S: Final = 10.0
# Then the job ends without a digest: four times as long as a disk may stand still and lose nothing.
GIVE_UP_S: Final = 120.0
_LOOK_S: Final = 1.0


@uninterrupted_methods
class Hashing:
    """Of one manager. ``limiter`` is also for what else its outputs' disk may keep waiting."""

    def __init__(self) -> None:
        # Of their own: a disk that stands still takes no thread from anybody else.
        self.limiter = trio.CapacityLimiter(DIGEST_THREADS)
        self._under_way: set[Digest] = set()
        self._done_bytes = 0

    async def sha256(self, digest: Digest, on_stall: Callable[[], None]) -> str:
        """As Digest.sha256, in a thread. Raises OSError, also where nothing moved for GIVE_UP_S;
        ``on_stall`` is called once nothing has for STALL_S, and it may yet go on then.

        Cancelled, or given up, the thread is left to its disk, and takes one of DIGEST_THREADS
        places until that answers.

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
        """What changes as long as it comes nearer to its end: its own bytes; those of all while it
        waits for a thread."""
        if digest.begun:
            return True, digest.hashed_bytes
        return False, self._done_bytes + sum(each.hashed_bytes for each in self._under_way)
