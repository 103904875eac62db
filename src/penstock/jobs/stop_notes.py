"""What callers have asked of a job's end, and what of that is recorded for a server that takes it
over."""

from dataclasses import dataclass, replace
from typing import Any

import trio

from ..concurrency.interrupts import uninterrupted_methods


@uninterrupted_methods
class StopAsked:
    """The caller that asked first for the job's end. Of several graces the shortest counts."""

    def __init__(
        self, by: str, reason: str, grace_s: float | None, number: int | None = None
    ) -> None:
        """``grace_s`` and the signal's ``number`` None: the command's own."""
        self.by = by
        self.reason = reason
        self.signal = number
        self.began = trio.current_time()
        self.recorded = False
        self._first_s = grace_s
        self._others_s = float("inf")

    def is_recorded(self, recorded: bool) -> None:
        """Whether it outlives this server, so that callers may be promised the stop."""
        self.recorded = recorded

    def add(self, grace_s: float) -> None:
        """Another caller has asked, with this grace."""
        self._others_s = min(self._others_s, grace_s)

    def grace_s(self, own_s: float) -> float:
        """Seconds between TERM and KILL, for a command with this grace of its own."""
        return min(own_s if self._first_s is None else self._first_s, self._others_s)


@dataclass(frozen=True, slots=True)
class StopNotes:
    """What is recorded of a stop. ``by`` is None where only the output's policy wants it."""

    by: str | None = None
    reason: str = ""
    grace_s: float = 0.0
    signal: int | None = None
    escalated: bool = False
    output_full: bool = False
    output_errno: int | None = None

    @classmethod
    def of(cls, fields: dict[str, Any]) -> "StopNotes":
        """What the store has; earlier versions wrote the first three. Raises what is in
        job_rows.DAMAGE."""
        notes = cls(**fields)
        return replace(notes, grace_s=float(notes.grace_s))

    def asked(self) -> StopAsked | None:
        """The same as ``Job.stop_asked`` has it; None if no client has asked."""
        if self.by is None:
            return None
        return StopAsked(str(self.by), str(self.reason), self.grace_s, self.signal)
