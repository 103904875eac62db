"""How ``run`` answers to signals: the first asks its job to stop, the second leaves it."""

import signal
from typing import Final

import trio

from ..client.client import Connect, Endpoint
from ..client.repeated_calls import RepeatedStart, stop_job
from .ending_signals import ASKING, hangs_up
from .exits import EXPECTED, message
from .interrupted_start import hurry
from .signal_handling import Signals
from .standard import OutputFailed, complain
from .terminal import harmless

# A reader that the same ^C has ended may fail a write a moment before the signal itself is heard.
SIGNAL_FOLLOWS_S: Final = 0.2


class StopRequest:
    """The stop that a signal asks for. ``asked``: one has; ``answered``: the stop is over, or
    could not be had, and in that case was said so.

    A signal that does not mean the job (USR1, ALRM, ...) leaves at once, as the second one does
    of those that do.
    """

    def __init__(self, attempt: RepeatedStart, signals: Signals, scope: trio.CancelScope) -> None:
        """``scope`` is cancelled to leave."""
        self.asked = trio.Event()
        self.answered = trio.Event()
        self._attempt = attempt
        self._signals = signals
        self._scope = scope

    def react(self) -> None:
        """To the signal that has just come."""
        hurry(self._attempt, self._signals, self._scope)
        asks = self._signals.number in ASKING
        if asks and not self.asked.is_set():
            self.asked.set()
        elif self._attempt.job is not None or not asks:
            # Cancels K0.run.
            self._scope.cancel()

    async def wait_over_if_asked(self, failure: OutputFailed) -> None:
        """Our output takes nothing any more: by the same signal, perhaps, that asks for a stop,
        which then is not to be left half-way. Returns when that is over, or there is none.

        A terminal that is gone says what HUP says, though none need have been sent to us: a shell
        sends it to its own jobs alone. Where HUP is ignored (``nohup``) so is this.

        Cancellation: minimum cleanup; C22, C57.
        """
        if failure.hung_up and hangs_up() and not self.asked.is_set():
            self._signals.take(signal.SIGHUP)
        # Scope K0.hangup.
        with trio.move_on_after(SIGNAL_FOLLOWS_S):
            await self.asked.wait()
        if self.asked.is_set():
            await self.answered.wait()

    async def send_when_asked(self, endpoint: Endpoint, handle: str, connecting: Connect) -> None:
        """Asks the server, once ``asked`` is set. Never raises an expected error.

        Cancelled: a stop that the server has heard of goes on.

        Cancellation: minimum cleanup; C6, C22.
        """
        await self.asked.wait()

        shown = harmless(handle)
        complain(f"Stopping {shown}; ^C again to detach")
        # On connections of its own, as the other one may be lost just now. First that it is
        # under way: until then another HUP of the same closing must not make us leave.
        try:
            for no_wait in (True, False):
                await stop_job(
                    endpoint,
                    handle,
                    reason="interrupted",
                    no_wait=no_wait,
                    reached=True,
                    connecting=connecting,
                )
                self._signals.hangup_is_one = False
        except EXPECTED as error:
            complain(f"Error: {shown} could not be stopped. {message(error)}")
        finally:
            self.answered.set()
