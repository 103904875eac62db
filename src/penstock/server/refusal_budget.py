"""How much of refused requests is written down: bounded for each who asks (sync, no I/O).

Whoever has a certificate of the CA can be refused as fast as the network carries it, and each
refusal is a line of audit. So a line has a bounded length, and everybody a number of them a
minute; what is beyond is counted, answered with RESOURCE_EXHAUSTED, and told in one line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PER_MINUTE: Final = 600
_MINUTE_S: Final = 60.0
# Whoever comes when so many have been refused within a minute shares one more bucket with others.
_MAX_KNOWN: Final = 1024
_OTHERS: Final = "(others)"


@dataclass(slots=True)
class _Bucket:
    began: float
    taken: int = 0
    suppressed: int = 0


class RefusalBudget:
    """Buckets by identity. ``clock`` gives monotonic seconds; ``tell(identity, count)`` is called
    once for a minute in which refusals were not written down, as soon as anybody is refused
    after it, and by ``close``.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        tell: Callable[[str, int], None],
        *,
        per_minute: int = PER_MINUTE,
    ) -> None:
        self._clock = clock
        self._tell = tell
        self._per_minute = per_minute
        self._buckets: dict[str, _Bucket] = {}  # oldest first

    def take(self, identity: str) -> float | None:
        """None: write this refusal down. Else it was counted, and in so many seconds another
        will be written."""
        now = self._clock()
        self._end_old(now - _MINUTE_S)
        if identity not in self._buckets and len(self._buckets) >= _MAX_KNOWN:
            identity = _OTHERS
        bucket = self._buckets.setdefault(identity, _Bucket(now))
        if bucket.taken < self._per_minute:
            bucket.taken += 1
            return None
        bucket.suppressed += 1
        return bucket.began + _MINUTE_S - now

    def end_old(self) -> None:
        """Tells of minutes that are over, though nobody is refused any more."""
        self._end_old(self._clock() - _MINUTE_S)

    def close(self) -> None:
        """Tells what has not been told yet."""
        self._end_old(float("inf"))

    def _end_old(self, before: float) -> None:
        while self._buckets:
            identity, bucket = next(iter(self._buckets.items()))
            if bucket.began > before:
                return
            del self._buckets[identity]
            if bucket.suppressed:
                self._tell(identity, bucket.suppressed)
