"""How long each turn of Trio's scheduler took: the lag that every client may see.

A turn runs every task that can run, one after another, and whatever arrives meanwhile waits for its
end. So a client's call may be late by the length of a turn. A turn is long because one peer was
given too much at once, because of a disk, or because of other programs on the machine.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

# ``recent_s`` covers the last one to two of these windows.
_WINDOW_S: Final = 60.0
SLOW_TURN_S: Final = 0.1
"""How late a client's call may be, in seconds; a longer turn is reported."""


@dataclass(frozen=True, slots=True)
class Lag:
    """Lengths of the scheduler's turns, in seconds of wall time.

    ``worst_s`` is the longest since the start, ``recent_s`` that of the last one to two minutes;
    ``slow`` counts turns of ``SLOW_TURN_S`` or more. ``worst_cpu_s`` is the most CPU of this thread
    in a turn. Where it is far less than ``worst_s``, the turn has waited for a disk or a processor.
    """

    turns: int = 0
    slow: int = 0
    busy_s: float = 0.0
    worst_s: float = 0.0
    worst_cpu_s: float = 0.0
    recent_s: float = 0.0


class LagMeter(trio.abc.Instrument):
    """Measures every turn of the loop that it is added to; costs a microsecond a turn.

    ``on_slow`` is called with the seconds of a slow turn and of its CPU. It may not raise.
    """

    def __init__(
        self,
        on_slow: Callable[[float, float], None],
        *,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._on_slow = on_slow
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._begun: float | None = None
        self._cpu_begun = 0.0
        self._window_end = clock() + _WINDOW_S
        self._turns = self._slow = 0
        self._busy_s = self._worst_s = self._worst_cpu_s = 0.0
        self._window_s = self._window_before_s = 0.0

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002  an Instrument of Trio
        """A turn begins. Called by Trio."""
        self._begun = self._clock()
        self._cpu_begun = self._cpu_clock()

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002  an Instrument of Trio
        """A turn ends. Called by Trio."""
        if self._begun is None:  # added in the middle of this turn
            return
        now = self._clock()
        took_s = now - self._begun
        self._turns += 1
        self._busy_s += took_s
        if now >= self._window_end:
            self._next_window(now)
        self._window_s = max(self._window_s, took_s)
        self._worst_s = max(self._worst_s, took_s)
        if took_s > self._worst_cpu_s or took_s >= SLOW_TURN_S:  # otherwise its CPU cannot be more
            cpu_s = self._cpu_clock() - self._cpu_begun
            self._worst_cpu_s = max(self._worst_cpu_s, cpu_s)
            if took_s >= SLOW_TURN_S:
                self._slow += 1
                self._on_slow(took_s, cpu_s)

    def _next_window(self, now: float) -> None:
        quiet = now >= self._window_end + _WINDOW_S
        self._window_before_s = 0.0 if quiet else self._window_s
        self._window_s = 0.0
        self._window_end = now + _WINDOW_S

    def statistics(self) -> Lag:
        """The lag since the start and of the last minutes. No checkpoint."""
        return Lag(
            turns=self._turns,
            slow=self._slow,
            busy_s=self._busy_s,
            worst_s=self._worst_s,
            worst_cpu_s=self._worst_cpu_s,
            recent_s=max(self._window_s, self._window_before_s),
        )
