"""What a signal does to a start that the server has not answered yet, and the user's message."""

from typing import Final

import trio

from ..client.repeated_calls import START_UNKNOWN, RepeatedStart
from .signal_handling import Signals
from .standard import complain
from .terminal import harmless

# After ^C. A start takes tens of milliseconds, so an answer comes by then if the server lives.
ANSWER_S: Final = 3.0


def hurry(start: RepeatedStart, signals: Signals, scope: trio.CancelScope) -> None:
    """Reacts to a signal: the first gives ``scope`` ANSWER_S for an answer under way. A second
    one, or the first before anything was asked, cancels it instead."""
    if start.job is not None:
        return
    if signals.count > 1 or not start.asked:
        # Cancels K0.start, K0.run.
        scope.cancel()
        return
    # Deadline K0.start, K0.run.
    scope.deadline = trio.current_time() + ANSWER_S
    complain(f"Waiting {ANSWER_S:g} s for the server's answer; ^C again to leave at once")


def interrupted_text(start: RepeatedStart) -> str:
    """For the user, whether the interrupted start has a job, may have one, or has none."""
    if start.job is not None:
        handle = harmless(start.job.handle)
        return f"Interrupted, but job {handle} was started; end it with: penstock stop {handle}"
    if start.asked:
        return f"Interrupted: {START_UNKNOWN}"
    return "Interrupted before the server was asked: nothing was started"
