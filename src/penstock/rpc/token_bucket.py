"""A token bucket: how often something may happen, at once and per second (pure).

HTTP/2, TLS and the log of refusals all use it, so it imports none of them.
"""

import time
from collections.abc import Callable

from .limits import Rate


class TokenBucket:
    """A bucket that a monotonic clock refills. ``kind`` names what is counted."""

    def __init__(self, kind: str, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self.kind = kind
        self._rate = rate
        self._clock = clock
        self._tokens = float(rate.burst)
        self._at = clock()

    @property
    def burst(self) -> int:
        """The number of tokens in a full bucket."""
        return self._rate.burst

    def try_take(self, tokens: int = 1) -> bool:
        """Takes ``tokens``. Returns False, and takes none, when too few are left."""
        if self._tokens < tokens:
            now = self._clock()
            grown = self._tokens + (now - self._at) * self._rate.per_s
            self._tokens = min(grown, float(self._rate.burst))
            self._at = now
            if self._tokens < tokens:
                return False
        self._tokens -= tokens
        return True

    def give(self, tokens: int) -> None:
        """Adds tokens; they may exceed the burst tenfold."""
        if self._tokens < 10 * self._rate.burst:
            self._tokens += tokens
