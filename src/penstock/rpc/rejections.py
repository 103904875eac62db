"""What was refused, counted by kind, and told without letting the log be flooded."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from .limits import Rate
from .token_bucket import TokenBucket

log = logging.getLogger("penstock.rpc")

# Of each kind; who is curious about the rest looks at the counters.
_LINES: Final = Rate(20, 1.0)


class Rejections:
    """``counts`` has all; of the lines of one kind some are left out, and the next says so."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._budgets: dict[str, TokenBucket] = {}
        self._left_out: Counter[str] = Counter()

    def refused(self, kind: str, text: str) -> None:
        """Counts one and tells of it."""
        self.counts[kind] += 1
        self.say(kind, text)

    def say(self, kind: str, text: str) -> None:
        """A line of log, if it is not one too many of its kind. Kinds are ours, so they are few."""
        budget = self._budgets.get(kind)
        if budget is None:
            budget = self._budgets[kind] = TokenBucket(kind, _LINES, self._clock)
        if not budget.try_take():
            self._left_out[kind] += 1
            return
        more = self._left_out.pop(kind, 0)
        shown = "".join(each if each.isprintable() else "?" for each in text)
        log.info("%s%s", shown, f" (and {more} more of this kind)" if more else "")
