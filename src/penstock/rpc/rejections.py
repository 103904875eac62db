"""Counts what was refused by kind, and logs it at a bounded rate, so that a flood fills no log."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from .limits import Rate
from .token_bucket import TokenBucket

log = logging.getLogger("penstock.rpc")

# Log lines of each kind; an operator finds the rest in the counters.
_LINES: Final = Rate(20, 1.0)


class Rejections:
    """``counts`` has every refusal. Some log lines of a kind may be left out; the next one of that
    kind has their number."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._budgets: dict[str, TokenBucket] = {}
        self._left_out: Counter[str] = Counter()

    def refused(self, kind: str, text: str) -> None:
        """Counts one refusal and logs it."""
        self.counts[kind] += 1
        self.say(kind, text)

    def say(self, kind: str, text: str) -> None:
        """Logs a line, unless its kind has had too many. Kinds are the code's own, hence few."""
        budget = self._budgets.get(kind)
        if budget is None:
            budget = self._budgets[kind] = TokenBucket(kind, _LINES, self._clock)
        if not budget.try_take():
            self._left_out[kind] += 1
            return
        more = self._left_out.pop(kind, 0)
        shown = "".join(each if each.isprintable() else "?" for each in text)
        log.info("%s%s", shown, f" (and {more} more of this kind)" if more else "")
