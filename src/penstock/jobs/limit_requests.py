"""Asks the supervisor whether a job's limits are still held: callers that want its status do.

The supervisor checks them every minute by itself (supervisor/job/limit_rounds.py).
"""

import trio

from .backends.base import Backend
from .job_errors import SupervisorSilent, Unavailable

# An answer usually takes a millisecond. After this the status says what was seen last instead.
LOOK_S = 1.0


class LimitRequests:
    """The questions about one job. Callers that ask while one is under way share the next one, so
    that a client that asks as often as the network carries it costs one question at a time."""

    def __init__(self) -> None:
        self._turn = trio.Lock()
        self._asked = 0
        self._answered = 0

    async def check(self, backend: Backend, job_id: str) -> bool:
        """Whether they were looked at since this was called; False after LOOK_S without an answer,
        or if the backend cannot be asked now.

        Cancellation: minimum cleanup; C18b.
        """
        self._asked += 1
        mine = self._asked
        # Scope S3.limits.
        with trio.move_on_after(LOOK_S):
            async with self._turn:
                if self._answered < mine:
                    asked = self._asked
                    try:
                        await backend.look_at_limits(job_id)
                    except (Unavailable, SupervisorSilent):
                        return False
                    self._answered = asked
                return True
        return False
