"""When to try again after a lost connection, and when to give up (pure: no clock, no waiting)."""

import math
import random
from collections.abc import Callable
from typing import Final

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0


class Backoff:
    """Pauses that double from FIRST_PAUSE_S to ``longest_s``, until ``give_up_s`` have passed
    without progress. Times are of any one monotonic clock, in seconds."""

    def __init__(
        self,
        give_up_s: float,
        jitter: Callable[[], float] = random.random,
        *,
        longest_s: float | None = None,
    ) -> None:
        """``jitter`` gives [0, 1): half of a pause is left to chance, so that clients which
        one event has cut off do not all reconnect at the same moment. ``longest_s`` is
        LONGEST_PAUSE_S if left out."""
        self._give_up_s = give_up_s
        self._jitter = jitter
        self._longest_s = LONGEST_PAUSE_S if longest_s is None else longest_s
        self._pause_s = FIRST_PAUSE_S
        self._give_up_at = math.inf

    def progress(self) -> None:
        """Call it when something new has arrived: pauses and time begin anew at the next loss."""
        self._pause_s = FIRST_PAUSE_S
        self._give_up_at = math.inf

    def left_s(self, now: float) -> float:
        """Seconds until it gives up; infinite if nothing was lost since the last progress."""
        return max(0.0, self._give_up_at - now)

    def pause_s(self, now: float, at_least_s: float = 0.0) -> float | None:
        """Seconds to wait after this loss; None: give up.

        ``at_least_s`` is what the server has asked for; it counts up to the longest pause. The
        last pause is cut short, so that the last attempt is made just as the time ends.
        """
        if self._give_up_at == math.inf:
            self._give_up_at = now + self._give_up_s
        left_s = self.left_s(now)
        if left_s <= 0:
            return None
        pause_s = self._pause_s * (1 + self._jitter()) / 2
        self._pause_s = min(2 * self._pause_s, self._longest_s)
        return min(max(pause_s, min(at_least_s, self._longest_s)), left_s)
