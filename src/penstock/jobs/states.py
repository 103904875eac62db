"""The life of a job as a table (pure).

A job is `starting` from the moment its record is durable, `running` when its main
process has been created inside its group, `stopping` once its end was asked for,
`ending` when the main process was reaped and leftovers are killed and pipes drained,
and `finished` when its end record is durable, which is before any client can see that
the job has ended. There is no way back, and `finished` has no way out.
"""

from enum import Enum
from typing import Final


class JobState(Enum):
    """Where a job is in its life; the values are those of the records."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDING = "ending"
    FINISHED = "finished"


class JobEvent(Enum):
    """What moves a job from one state to the next."""

    STARTED = "started"  # the supervisor answered with a pid
    REFUSED = "refused"  # nothing was started
    STOP_ASKED = "stop asked"
    MAIN_EXITED = "main process exited"
    RECORDED = "end record durable"
    LOST = "lost"  # what happened cannot be known


TRANSITIONS: Final[dict[JobState, dict[JobEvent, JobState]]] = {
    JobState.STARTING: {
        JobEvent.STARTED: JobState.RUNNING,
        JobEvent.REFUSED: JobState.FINISHED,
        JobEvent.LOST: JobState.FINISHED,
    },
    JobState.RUNNING: {
        JobEvent.STOP_ASKED: JobState.STOPPING,
        JobEvent.MAIN_EXITED: JobState.ENDING,
        JobEvent.LOST: JobState.ENDING,
    },
    JobState.STOPPING: {
        JobEvent.STOP_ASKED: JobState.STOPPING,
        JobEvent.MAIN_EXITED: JobState.ENDING,
        JobEvent.LOST: JobState.ENDING,
    },
    JobState.ENDING: {
        JobEvent.STOP_ASKED: JobState.ENDING,
        JobEvent.RECORDED: JobState.FINISHED,
        JobEvent.LOST: JobState.ENDING,
    },
    JobState.FINISHED: {},
}


class IllegalTransition(AssertionError):
    """A bug of ours: the event cannot happen in that state."""


def after(state: JobState, event: JobEvent) -> JobState:
    """The state that follows. Raises IllegalTransition where the table has no entry."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(f"{event.value!r} cannot happen to a {state.value} job") from None
