"""Whether the supervisor answers: beats for it, hears its own, and bounds every wait for it."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ...concurrency.interrupts import uninterrupted_methods
from ...supervisor.ipc.silence import ANSWER_S, BEAT_S, Silence
from ..reporting import LINES

_LOOK_S: Final = 1.0
# A wait that lasted longer counts as so much at most, because this process itself stood still.
_LOOKED_S: Final = 2 * _LOOK_S


@uninterrupted_methods
class Heartbeat:
    """The heartbeat of one connection. While ``on`` is False, as with a supervisor of an earlier
    version, that does not beat, the supervisor never counts as silent."""

    def __init__(self, bound_s: float) -> None:
        """``bound_s``: a supervisor that is silent for so long is given up."""
        self.on = False
        self.bound_s = bound_s
        self._silence = Silence()
        self._heard = 0
        self._unanswered = False

    @property
    def is_silent(self) -> bool:
        """Whether the supervisor has missed so many beats, or left a caller without an answer, and
        was not heard since."""
        return self.on and (self._unanswered or self._silence.silent_s >= ANSWER_S)

    def heard(self) -> None:
        """A message has come, of whatever kind, so the supervisor is not silent. No checkpoint."""
        self._heard += 1
        self._unanswered = False
        self._silence.heard()

    async def wait_given_up(self, beat: Callable[[], None]) -> None:
        """Calls ``beat`` every BEAT_S; returns when the supervisor was silent for the bound.

        No checkpoint if the bound is over as it is called.

        Cancellation: minimum cleanup; C14b, C27, C51, C53.
        """
        if not self.on:
            await trio.sleep_forever()
        while self._silence.silent_s < self.bound_s:
            beat()
            LINES.tell_lost()
            await trio.sleep(BEAT_S)
            self._silence.beat(trio.current_time())

    async def answered(self, wait: Callable[[], Awaitable[object]]) -> bool:
        """Waits; False, instead of waiting on, once nothing was heard for ANSWER_S of that wait, or
        if the supervisor was silent before.

        ``wait`` may be cancelled and called again. What it waits for continues all the same.

        Cancellation: minimum cleanup; C26.
        """
        if not self.on:
            await wait()
            return True
        heard, silent_s = self._heard, 0.0
        while silent_s < ANSWER_S and not self.is_silent:
            began = trio.current_time()
            # Scope S3.answer.
            with trio.move_on_after(_LOOK_S):
                await wait()
                return True
            silent_s += min(trio.current_time() - began, _LOOKED_S)
            if heard != self._heard:
                heard, silent_s = self._heard, 0.0
        self._unanswered = True
        await trio.lowlevel.checkpoint()
        return False
