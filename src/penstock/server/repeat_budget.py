"""How much of what is granted again and again is written down (sync, no I/O).

Whoever may read a job may ask ten thousand times a second, and each grant was a line of audit. So
the first grant of its kind has a line, and those that follow are one count a minute, for as long
as they go on. What changes anything has its own line and does not come here.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

INTERVAL_S: Final = 60.0
# Of one client and verb; what is beyond shares one more count, which names the verb alone.
MAX_KNOWN: Final = 30

Tell = Callable[[str, str, Mapping[str, object], int], None]
"""Writes down a client, a verb, what it was about, and how often. Raises whatever a write does, and
is asked again later."""


@dataclass(slots=True)
class _Count:
    about: Mapping[str, object]
    since: float
    count: int = 0


class RepeatBudget:
    """Counts by client, verb and subject. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float], tell: Tell) -> None:
        self._clock = clock
        self._tell = tell
        self._counts: dict[tuple[str, str], dict[str, _Count]] = {}

    def take(self, client: str, verb: str, about: Mapping[str, object]) -> bool:
        """True: write this one down, it is the first of its kind. Else it was counted.

        ``about`` is JSON, short, and the same for what is the same.
        """
        counts = self._counts.setdefault((client, verb), {})
        key = json.dumps(about, sort_keys=True)
        found = counts.get(key)
        if found is None and len(counts) < MAX_KNOWN:
            counts[key] = _Count(about, self._clock())
            return True
        if found is None:
            found = counts.setdefault("", _Count({}, self._clock()))
        found.count += 1
        return False

    def not_written(self, client: str, verb: str, about: Mapping[str, object]) -> None:
        """The line that ``take`` asked for failed: it is in the count instead."""
        self._counts[client, verb][json.dumps(about, sort_keys=True)].count += 1

    def end_old(self) -> None:
        """Tells the counts that are a minute old; whoever owns this calls it every few seconds.

        Of what was not asked for in that minute nothing is known any more.
        """
        self._end(self._clock() - INTERVAL_S)

    def close(self) -> int:
        """Tells all that was not told yet; how many could not be."""
        self._end(float("inf"))
        return sum(one.count for counts in self._counts.values() for one in counts.values())

    def _end(self, before: float) -> None:
        for (client, verb), counts in list(self._counts.items()):
            for key, one in list(counts.items()):
                if one.since > before:
                    continue
                if not one.count:
                    del counts[key]
                    continue
                try:
                    self._tell(client, verb, one.about, one.count)
                except Exception:  # whatever it was, a full disk for example: the next time
                    return
                one.count = 0
                one.since = self._clock()
            if not counts:
                del self._counts[client, verb]
