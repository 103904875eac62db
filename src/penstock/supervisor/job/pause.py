"""Every process of a job made to stand still, and let go again, by its group's freezer.

The kernel freezes a process where it returns to user mode or sleeps interruptibly, so it
takes a moment, and for ever where one is in an uninterruptible sleep.
"""

from collections.abc import Callable
from typing import Final

from ..cgroups import GroupError
from ..kernel.loop import Loop, Timer
from ..logs.supervisor_log import log
from .cgroup_processes import Processes

# Usually a millisecond. v1 has no event for it, hence the looking again.
_AGAIN_S: Final = 0.001
_AGAIN_LAST_S: Final = 0.05
_BOUND_S: Final = 2.0

Answer = Callable[[bool, str], None]
"""Is it paused; and why it is not as was asked, for people."""


class Pausing:
    """Of one job. What is asked is answered in order, each once."""

    def __init__(self, loop: Loop, processes: Processes) -> None:
        self.paused = False
        """What was asked for last, and had."""
        self._loop = loop
        self._processes = processes
        self._waiting: list[Answer] = []
        self._left_s = 0.0
        self._again_s = _AGAIN_S
        self._timer: Timer | None = None

    def pause(self, answer: Answer) -> None:
        """Answers when all stand still, or that they do not, and then they run on."""
        if self.paused:
            answer(True, "")
            return
        self._waiting.append(answer)
        if len(self._waiting) > 1:
            return
        if not self._freeze(True):
            self._end(False, "jobs cannot be paused on this host; penstockd's log says why")
            return
        self._left_s, self._again_s = _BOUND_S, _AGAIN_S
        self._look()

    def resume(self, answer: Answer | None = None) -> None:
        """Answers at once; a pause under way has failed then."""
        self._end(False, "it was resumed meanwhile")
        done = not self.paused or self._freeze(False)
        self.paused = not done
        if answer is not None:
            answer(self.paused, "" if done else "it cannot be resumed; penstockd's log says why")

    def let_run(self, job_id: str) -> bool:
        """The job is to hear a signal: whatever makes it stand still is undone, a pause of ours or
        not. The log has what was found. Was it paused, and is so no longer?"""
        paused = self.paused
        for found in self._processes.let_run():
            if not paused:  # else that it was frozen is what was asked for
                log(f"job {job_id} is to hear a signal of its end: {found}")
        self.resume()
        return paused and not self.paused

    def give_up(self) -> None:
        """Nobody hears the answer: what was under way is undone, what is paused stays so."""
        self._end(False, "nobody waits for it any more")

    def ended(self) -> None:
        """The main process has: nobody is to be paused any more."""
        self._end(False, "it has ended")

    def _look(self) -> None:
        try:
            frozen = self._processes.frozen()
        except GroupError as error:
            log(str(error))
            frozen = False
        if frozen:
            self._end(True, "")
        elif self._left_s <= 0:
            why = f"not all of its processes stood still within {_BOUND_S:g} s, so it runs on"
            self._end(False, why)
        else:
            self._timer = self._loop.after(self._again_s, self._look)
            self._left_s -= self._again_s
            self._again_s = min(_AGAIN_LAST_S, 2 * self._again_s)

    def _end(self, paused: bool, why: str) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self._timer is not None:
            self._timer.cancel()
        if not paused:
            self._freeze(False)
        self.paused = paused
        for answer in waiting:
            answer(paused, why)

    def _freeze(self, frozen: bool) -> bool:
        try:
            self._processes.freeze(frozen)
        except GroupError as error:
            log(str(error))
            return False
        return True
