"""How long the other side has sent nothing, as far as this side was there to hear it (pure).

Server and supervisor beat for each other. A side that stands still itself, as a whole machine or a
process under a debugger does, comes late to its own next beat. That time does not count, because
what it has not heard meanwhile proves nothing about the other side.
"""

from typing import Final

BEAT_S: Final = 2.0
# A watcher that comes so much later to its beat has stood still, or the machine has.
_LATE_S: Final = BEAT_S / 2
# Requests are answered in milliseconds, so a side that was not heard for so long while a request
# waited does not answer. Callers get an error after at most 10 s (docs/protocol.md).
ANSWER_S: Final = 9.0


class Silence:
    """The silence of one peer. Call ``heard`` for each message that comes, ``beat`` each BEAT_S."""

    def __init__(self) -> None:
        self.silent_s = 0.0
        """Beats that were missed, in seconds."""
        self._heard = True
        self._due: float | None = None

    def heard(self) -> None:
        """A message has come, so the silence begins anew."""
        self._heard = True
        self.silent_s = 0.0

    def beat(self, now: float) -> bool:
        """Counts one more that was missed, if it was and this side is on time; was it?"""
        due, self._due = self._due, now + BEAT_S
        on_time = due is not None and now - due <= _LATE_S
        missed = on_time and not self._heard
        if missed:
            self.silent_s += BEAT_S
        if on_time:  # otherwise what has come meanwhile is not read yet
            self._heard = False
        return missed
