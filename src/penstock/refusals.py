"""How much of refused requests is written down: bounded for each who asks (sync, no I/O).

Whoever has a certificate of the CA can be refused as fast as the network carries it, and each
refusal is a line of audit. So a line has a bounded length, and everybody a number of them a
minute; what is beyond is counted, answered with RESOURCE_EXHAUSTED, and told in one line.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

PER_MINUTE: Final = 600
_MINUTE_S: Final = 60.0
# Whoever comes when so many have been refused within a minute shares one more bucket with others.
_MAX_KNOWN: Final = 1024
_OTHERS: Final = "(others)"
_MAX_TEXT: Final = 256  # characters
_MAX_ARGV_BYTES: Final = 2048  # as JSON, where a control character is six bytes


@dataclass(slots=True)
class _Bucket:
    began: float
    taken: int = 0
    suppressed: int = 0


class Refusals:
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


def bounded(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a refusal's line at a bounded length: texts cut, ``argv`` by its beginning.

    Of an argv that is cut, its count, length in bytes and SHA-256 (of its elements, each
    followed by a NUL) stand beside it.
    """
    found: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, str):
            found[key] = value[:_MAX_TEXT]
        elif isinstance(value, list | tuple):
            found |= _bounded_list(key, value)
        else:
            found[key] = value
    return found


def _bounded_list(key: str, texts: Sequence[str]) -> dict[str, Any]:
    kept: list[str] = []
    room = _MAX_ARGV_BYTES
    for text in texts:
        cut = text[:_MAX_TEXT]
        room -= len(json.dumps(cut)) + 1
        if room < 0:
            break
        kept.append(cut)
    if kept == list(texts):
        return {key: kept}
    data = b"".join(text.encode("utf-8", "surrogatepass") + b"\0" for text in texts)
    return {
        key: kept,
        f"{key}_count": len(texts),
        f"{key}_bytes": len(data),
        f"{key}_sha256": hashlib.sha256(data).hexdigest(),
    }
