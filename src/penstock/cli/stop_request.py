"""How ``run`` reacts to signals: the first asks the server to stop its job, the second leaves."""

import signal
from typing import Final

import trio

from ..client.first_connection import Connect, Endpoint
from ..client.repeated_calls import RepeatedStart, stop_job
from .descriptors import OutputFailed
from .ending_signals import ASKING
from .error_report import report_error
from .exits import EXPECTED, exit_code, message
from .interrupted_start import hurry
from .signal_handling import Signals, hangs_up
from .standard import complain
from .terminal import harmless

# Because a write to a reader that the same ^C has ended may fail a moment before we get the signal.
SIGNAL_FOLLOWS_S: Final = 0.2


class StopRequest:
    """The stop that a signal asks for. ``asked``: a signal has; ``answered``: the stop is over, or
    has failed and was reported.

    A signal that does not mean the job (USR1, ALRM, ...) leaves at once, as the second one
    of the others does.
    """

    def __init__(self, attempt: RepeatedStart, signals: Signals, scope: trio.CancelScope) -> None:
        """``scope``: cancelled when a signal means to leave the job."""
        self.asked = trio.Event()
        self.answered = trio.Event()
        self._attempt = attempt
        self._signals = signals
        self._scope = scope

    def react(self) -> None:
        """Asks for the stop or leaves, by the signal that has just come."""
        hurry(self._attempt, self._signals, self._scope)
        asks = self._signals.number in ASKING
        if asks and not self.asked.is_set():
            self.asked.set()
        elif self._attempt.job is not None or not asks:
            # Cancels K0.run.
            self._scope.cancel()

    async def wait_over_if_asked(self, failure: OutputFailed) -> None:
        """Call it when our output has failed: perhaps by the signal that also asks for a stop,
        which must not be left half-way then. Returns when the stop is over, or if there is none.

        A closed terminal counts as HUP even if we got none, because a shell sends it to its own
        jobs alone. If HUP is ignored (``nohup``), so is this.

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

        Cancelled: a stop that has reached the server is carried through.

        Cancellation: minimum cleanup; C6, C22.
        """
        await self.asked.wait()

        shown = harmless(handle)
        complain(f"Stopping {shown}; ^C again to detach")
        # On connections of its own, because the other one may be lost just now. At first only until
        # it is under way, because another HUP of the same closing must not make us leave before.
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
            text = f"{shown} could not be stopped. {message(error)}"
            report_error(text, exit_code(error), error, pid=handle)
        finally:
            self.answered.set()
