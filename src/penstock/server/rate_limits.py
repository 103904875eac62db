"""How much a client may have at once, or do in a time: jobs, streams, signals (sync, no I/O).

Counters are kept per client, so that one client's flood refuses that client alone. Taking and
giving back never await, so a check and what it allows are one step. Which call takes of which
quota, its row in methods.py says.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from typing import Final

from ..policy.policy_file import ClientPolicy

_MINUTE_S: Final = 60.0
# Of calls that are work for the event loop before they are decided, and however they are.
COSTLY_BURST: Final = 100
COSTLY_PER_S: Final = 20.0


class QuotaExceeded(Exception):
    """Nothing was taken. ``retry_after_s`` is when trying again can help."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


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
        """Counts one more call that costs much, by its headers: before the server has read what it
        asks for. Raises QuotaExceeded."""
        now = self._clock()
        left, at = self._costly.get(client.id, (float(COSTLY_BURST), now))
        left = min(float(COSTLY_BURST), left + (now - at) * COSTLY_PER_S)
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
        job itself is what is counted, so a caller who leaves early gives nothing back.
        """
        now = self._clock()
        starts = self._starts[client.id]
        while starts and starts[0] <= now - _MINUTE_S:
            starts.popleft()
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
        signals = self._signals[client.id]
        while signals and signals[0] <= now - _MINUTE_S:
            signals.popleft()
        if len(signals) >= client.signals_per_minute:
            raise QuotaExceeded(
                f"{client.id} may send {client.signals_per_minute} signals a minute",
                signals[0] + _MINUTE_S - now,
            )
        signals.append(now)

    def take_stream(self, client: ClientPolicy) -> None:
        """Counts one more open stream; pair with give_stream. Raises QuotaExceeded.

        Not a context manager: its user is an async generator, and those must not yield
        inside one.
        """
        if self._streams[client.id] >= client.max_streams:
            raise QuotaExceeded(f"{client.id} may have {client.max_streams} streams open", 1.0)
        self._streams[client.id] += 1

    def give_stream(self, client: ClientPolicy) -> None:
        """The stream has ended."""
        self._streams[client.id] -= 1
