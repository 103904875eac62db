"""The life of a job as a table (pure).

A job is `starting` from the moment its record is durable, `running` when its main
process has been created inside its group, `stopping` once its end was asked for,
`ending` when the main process was reaped and leftovers are killed and pipes drained,
and `finished` when its end record is durable, which is before any client can see that
the job has ended. There is no way back, and `finished` has no way out.
"""

from enum import Enum
from typing import Final


class State(Enum):
    """Where a job is in its life; the values are those of the records."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDING = "ending"
    FINISHED = "finished"


class Event(Enum):
    """What moves a job from one state to the next."""

    STARTED = "started"  # the supervisor answered with a pid
    REFUSED = "refused"  # nothing was started
    STOP_ASKED = "stop asked"
    MAIN_EXITED = "main process exited"
    RECORDED = "end record durable"
    LOST = "lost"  # what happened cannot be known


TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.STARTING: {
        Event.STARTED: State.RUNNING,
        Event.REFUSED: State.FINISHED,
        Event.LOST: State.FINISHED,
    },
    State.RUNNING: {
        Event.STOP_ASKED: State.STOPPING,
        Event.MAIN_EXITED: State.ENDING,
        Event.LOST: State.ENDING,
    },
    State.STOPPING: {
        Event.STOP_ASKED: State.STOPPING,
        Event.MAIN_EXITED: State.ENDING,
        Event.LOST: State.ENDING,
    },
    State.ENDING: {
        Event.STOP_ASKED: State.ENDING,
        Event.RECORDED: State.FINISHED,
        Event.LOST: State.ENDING,
    },
    State.FINISHED: {},
}


class IllegalTransition(AssertionError):
    """A bug of ours: the event cannot happen in that state."""


def after(state: State, event: Event) -> State:
    """The state that follows. Raises IllegalTransition where the table has no entry."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(f"{event.value!r} cannot happen to a {state.value} job") from None
