"""How many refusals of one identity are written down: a bounded number a minute (sync, no I/O).

A client with a certificate of the CA can be refused as fast as the network carries its calls, and
each refusal is a line of audit. Without a bound it could fill the disk, and a full disk ends all
starts. So each identity has a number of lines a minute; what is beyond is counted, answered with
RESOURCE_EXHAUSTED, and reported in one line.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

PER_MINUTE: Final = 600
_MINUTE_S: Final = 60.0
# Identities beyond these, refused within the same minute, share one more bucket, because a CA may
# have issued any number of them.
_MAX_KNOWN: Final = 1024
_OTHERS: Final = "(others)"


@dataclass(slots=True)
class _Bucket:
    began: float
    taken: int = 0
    suppressed: int = 0


class RefusalBudget:
    """Buckets by identity. ``clock`` gives monotonic seconds; ``tell(identity, count)`` is called
    once for a minute in which refusals were not written down: with the next refusal after it, of
    any identity, by ``end_old``, or by ``close``.
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

    def take(self, identity: str, per_minute: int | None = None) -> float | None:
        """None: write this refusal down. Otherwise it was counted, and a refusal is written again
        after that many seconds. ``per_minute``: for an identity that gets fewer lines."""
        now = self._clock()
        self._end_old(now - _MINUTE_S)
        if identity not in self._buckets and len(self._buckets) >= _MAX_KNOWN:
            identity = _OTHERS
        bucket = self._buckets.setdefault(identity, _Bucket(now))
        if bucket.taken < (self._per_minute if per_minute is None else per_minute):
            bucket.taken += 1
            return None
        bucket.suppressed += 1
        return bucket.began + _MINUTE_S - now

    def end_old(self) -> None:
        """Reports minutes that are over, although no refusal has come since."""
        self._end_old(self._clock() - _MINUTE_S)

    def close(self) -> None:
        """Reports what was not reported yet."""
        self._end_old(float("inf"))

    def _end_old(self, before: float) -> None:
        while self._buckets:
            identity, bucket = next(iter(self._buckets.items()))
            if bucket.began > before:
                return
            del self._buckets[identity]
            if bucket.suppressed:
                self._tell(identity, bucket.suppressed)
