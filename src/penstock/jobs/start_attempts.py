"""A start is asked for until it is by what is in force: what changes under way is decided anew.

Theory of operation. A start is decided where it is asked for, and its START goes out later. By then
other files may be in force (a reload), on the supervisor's side first and here a moment later. So a
START says by which generation it was decided, and the supervisor refuses any but its own: nothing
is started by rules that only one of the two has. What was refused so is decided anew, by the rules
that are in force now, and asked for again. It stays the same job all the while, with its id, its
request id and its place in its owner's list.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ..concurrency.interrupts import uninterrupted_methods
from ..supervisor.ipc import protocol
from .backends.base import Backend, JobSpec, OnReplaced, StartedJob, StartRefused
from .job import Job
from .reporting import say
from .store import Store

# The supervisor's word that it has switched is ahead of its refusal, so this is for one that stands
# still between the two.
_SWITCH_S: Final = 10.0
# Each is a whole reload, of which there is one at a time.
_MOST_ATTEMPTS: Final = 5
_REPLACED_AGAIN: Final = "the policy is replaced again and again; nothing was started: ask again"
_NOT_RECORDED: Final = "jobs cannot be recorded now; the server's log says why"

DecideAgain = Callable[[str, JobSpec], Awaitable[StartRefused | None]]
"""Called with owner and start: None if what is in force now grants it, or why it does not."""


async def leave_it_to_the_supervisor(owner: str, spec: JobSpec) -> None:  # noqa: ARG001
    """The library's default: it has no rules of its own.

    Cancellation: atomic.
    """
    await trio.lowlevel.checkpoint()


@uninterrupted_methods
class StartAttempts:
    """Asks the backend for the starts of one manager. ``decide_again`` may be replaced."""

    def __init__(self, backend: Backend, store: Store) -> None:
        self.decide_again: DecideAgain = leave_it_to_the_supervisor
        self._backend = backend
        self._store = store

    async def start(self, job: Job, on_replaced: OnReplaced) -> StartedJob | StartRefused:
        """As Backend.start, for a job that was decided by ``job.generation``.

        Cancellation: completes; C4, C73.
        """
        attempts = 0
        while True:
            attempts += 1
            result = await self._backend.start(
                *(job.id, job.spec, job.owner),
                generation=job.generation,
                on_replaced=on_replaced,
            )
            stale = isinstance(result, StartRefused) and result.fault == protocol.STALE_POLICY
            if not stale:
                return result
            # Scope S5.stale.
            with trio.move_on_after(_SWITCH_S):
                await self._backend.wait_generation_after(job.generation)
            generation = self._backend.generation
            if generation == job.generation:
                return result
            if attempts == _MOST_ATTEMPTS:
                return StartRefused("lost", _REPLACED_AGAIN)
            refused = await self.decide_again(job.owner, job.spec)
            if refused is not None:
                return refused
            # If another one has come in that call, the supervisor refuses this one, too.
            job.generation = generation
            job.policy_hash = str(self._backend.capabilities().get("policy", ""))
            try:
                self._store.set_policy(job.id, job.policy_hash)
            except sqlite3.Error as error:
                say(f"job {job.id} of {job.owner} is not started: {error}")
                return StartRefused("lost", _NOT_RECORDED)
