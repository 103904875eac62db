"""How much a client may have at once, or do in a time: jobs, streams, signals (sync, no I/O).

Counters are kept per client, so that one client's flood refuses that client alone. Taking and
giving back never await, so that a check and what it allows are one step. Which quota a call takes
of is in its row in methods.py.
"""

import math
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from ..policy.policy_file import ClientPolicy

_MINUTE_S: Final = 60.0
# Of calls that cost the event loop work before they are decided, even if they are refused.
COSTLY_BURST: Final = 100
COSTLY_PER_S: Final = 20.0


class QuotaExceeded(Exception):
    """A quota is full, and nothing was taken. After ``retry_after_s`` a retry may succeed."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QuotaUse(NamedTuple):
    """How much of one quota is used. All of it is free again after ``free_after_s`` seconds without
    more; 0: when what it counts has ended."""

    name: str
    limit: int
    used: int
    free_after_s: float


class Quotas:
    """All clients' counters. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._starts: defaultdict[str, deque[float]] = defaultdict(deque)
        self._signals: defaultdict[str, deque[float]] = defaultdict(deque)
        self._streams: defaultdict[str, int] = defaultdict(int)
        self._costly: dict[str, tuple[float, float]] = {}
        """By client: what was left of its burst, and when that was."""

    def take_costly(self, client: ClientPolicy) -> None:
        """Counts one more costly call, by its headers alone, so that the server need not read its
        message first. Raises QuotaExceeded."""
        now = self._clock()
        left = self._costly_left(client, now)
        if left < 1.0:
            self._costly[client.id] = (left, now)
            raise QuotaExceeded(
                f"{client.id} may ask for {COSTLY_PER_S:g} starts a second, granted or not",
                (1.0 - left) / COSTLY_PER_S,
            )
        self._costly[client.id] = (left - 1.0, now)

    def take_start(self, client: ClientPolicy, running: int) -> None:
        """Counts one more start. Raises QuotaExceeded.

        ``running`` are the client's unfinished jobs, those that are starting included: the
        job itself is what is counted, so that a client that leaves early gives nothing back.
        """
        now = self._clock()
        starts = _of_last_minute(self._starts[client.id], now)
        if len(starts) >= client.starts_per_minute:
            wait_s = starts[0] + _MINUTE_S - now if starts else _MINUTE_S
            raise QuotaExceeded(
                f"{client.id} may start {client.starts_per_minute} jobs a minute", wait_s
            )
        if running >= client.max_running:
            raise QuotaExceeded(
                f"{client.id} may have {client.max_running} jobs running; stop one first", 1.0
            )
        starts.append(now)

    def take_signal(self, client: ClientPolicy) -> None:
        """Counts one more signal, pause or resume. These are bounded because each is work for the
        supervisor, which all clients share. Raises QuotaExceeded."""
        now = self._clock()
        signals = _of_last_minute(self._signals[client.id], now)
        if len(signals) >= client.signals_per_minute:
            raise QuotaExceeded(
                f"{client.id} may send {client.signals_per_minute} signals a minute",
                signals[0] + _MINUTE_S - now,
            )
        signals.append(now)

    def take_stream(self, client: ClientPolicy) -> None:
        """Counts one more open stream; pair with give_stream. Raises QuotaExceeded.

        Not a context manager, because its user is an async generator, which must not yield inside
        one.
        """
        if self._streams[client.id] >= client.max_streams:
            raise QuotaExceeded(f"{client.id} may have {client.max_streams} streams open", 1.0)
        self._streams[client.id] += 1

    def give_stream(self, client: ClientPolicy) -> None:
        """Gives back what ``take_stream`` took, once the stream has ended."""
        self._streams[client.id] -= 1

    def used(self, client: ClientPolicy, running: int) -> tuple[QuotaUse, ...]:
        """What the client has used of each now, by the policy's keys. Takes nothing.

        ``running``: as for ``take_start``.
        """
        now = self._clock()
        starts = _of_last_minute(self._starts[client.id], now)
        signals = _of_last_minute(self._signals[client.id], now)
        costly = COSTLY_BURST - self._costly_left(client, now)
        return (
            QuotaUse("max_running", client.max_running, running, 0.0),
            QuotaUse("max_streams", client.max_streams, self._streams[client.id], 0.0),
            _per_minute("starts_per_minute", client.starts_per_minute, starts, now),
            _per_minute("signals_per_minute", client.signals_per_minute, signals, now),
            QuotaUse("start_requests", COSTLY_BURST, math.ceil(costly), costly / COSTLY_PER_S),
        )

    def _costly_left(self, client: ClientPolicy, now: float) -> float:
        """What is left of the client's burst."""
        left, at = self._costly.get(client.id, (float(COSTLY_BURST), now))
        return min(float(COSTLY_BURST), left + (now - at) * COSTLY_PER_S)


def _of_last_minute(times: deque[float], now: float) -> deque[float]:
    """The same deque, without what is older."""
    while times and times[0] <= now - _MINUTE_S:
        times.popleft()
    return times


def _per_minute(name: str, limit: int, times: deque[float], now: float) -> QuotaUse:
    return QuotaUse(name, limit, len(times), times[-1] + _MINUTE_S - now if times else 0.0)
