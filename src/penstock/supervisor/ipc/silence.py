"""How long the other side has said nothing, as far as this side was there to hear it (pure).

Server and supervisor beat for each other. What stands still itself, as a whole machine or a
process under a debugger does, comes late to its own next beat: what it has not heard meanwhile
says nothing about the other one.
"""

from typing import Final

BEAT_S: Final = 2.0
# A watcher that comes so much later to its beat has stood still, or the machine has.
_LATE_S: Final = BEAT_S / 2
# Requests are answered in milliseconds; whoever has not been heard for so long while one was
# waited for does not answer. Callers are told after at most 10 s (docs/protocol.md).
ANSWER_S: Final = 9.0


class Silence:
    """``heard`` whenever anything comes; ``beat`` every BEAT_S."""

    def __init__(self) -> None:
        self.silent_s = 0.0
        """Beats that were missed, in seconds."""
        self._heard = True
        self._due: float | None = None

    def heard(self) -> None:
        """The other side lives."""
        self._heard = True
        self.silent_s = 0.0

    def beat(self, now: float) -> bool:
        """Counts one more that was missed, if it was and this side is on time; was it?"""
        due, self._due = self._due, now + BEAT_S
        on_time = due is not None and now - due <= _LATE_S
        missed = on_time and not self._heard
        if missed:
            self.silent_s += BEAT_S
        if on_time:  # else what has come meanwhile is not read yet
            self._heard = False
        return missed
