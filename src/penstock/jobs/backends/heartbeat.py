"""Whether the supervisor answers: beats for it, hears its own, and bounds every wait for it."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ...concurrency.interrupts import uninterrupted_methods
from ...supervisor.ipc.silence import ANSWER_S, BEAT_S, Silence
from ..reporting import LINES

_LOOK_S: Final = 1.0
# A wait that lasted longer than it should counts as much at most: this process stood still.
_LOOKED_S: Final = 2 * _LOOK_S


@uninterrupted_methods
class Heartbeat:
    """One connection's. ``on`` False, as with a supervisor of an earlier version: nothing is
    ever silent."""

    def __init__(self, bound_s: float) -> None:
        """``bound_s``: a supervisor that is silent for so long is given up."""
        self.on = False
        self._bound_s = bound_s
        self._silence = Silence()
        self._heard = 0
        self._unanswered = False

    @property
    def is_silent(self) -> bool:
        """It has missed so many beats, or left somebody without an answer, and was not heard
        since."""
        return self.on and (self._unanswered or self._silence.silent_s >= ANSWER_S)

    def heard(self) -> None:
        """Something has come. No checkpoint."""
        self._heard += 1
        self._unanswered = False
        self._silence.heard()

    async def wait_given_up(self, beat: Callable[[], None]) -> None:
        """Beats; returns when the other side was silent for the bound.

        No checkpoint if the bound is over as it is called.

        Cancellation: minimum cleanup; C14b, C27, C51, C53.
        """
        if not self.on:
            await trio.sleep_forever()
        while self._silence.silent_s < self._bound_s:
            beat()
            LINES.tell_lost()
            await trio.sleep(BEAT_S)
            self._silence.beat(trio.current_time())

    async def answered(self, wait: Callable[[], Awaitable[object]]) -> bool:
        """Waits; False once nothing was heard for ANSWER_S of it, or before, and it is given up.

        ``wait`` may be called again, and what it has not waited for to the end goes on.

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
