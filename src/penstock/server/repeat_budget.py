"""How many of the same grants are written down: the first, then a count a minute (sync, no I/O).

A client that may read a job may ask ten thousand times a second, and each grant was a line of
audit. So the first grant of its kind has a line, and those that follow are one count a minute, for
as long as they come. A grant that changes anything has its own line and does not come here: the row
in methods.py says which.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

INTERVAL_S: Final = 60.0
# Kinds of one client and verb. What is beyond shares one more count, which names the verb alone,
# because a client may have any number of jobs.
MAX_KNOWN: Final = 30

Tell = Callable[[str, str, Mapping[str, object], int], None]
"""Writes down a client, a verb, what the grants were about, and how many they were. May raise what
a write raises: the count is kept, and reported the next time."""


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
        """True: write this grant down, it is the first of its kind. Otherwise it was counted.

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
        """Reports the counts that are a minute old; the server calls this every few seconds.

        A kind that was not asked for in that minute is forgotten, so its next grant has a line.
        """
        self._end(self._clock() - INTERVAL_S)

    def close(self) -> int:
        """Reports all that was not reported yet; returns how many grants could not be."""
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
                except Exception:  # a full disk, for example: it is tried again the next time
                    return
                one.count = 0
                one.since = self._clock()
            if not counts:
                del self._counts[client, verb]
