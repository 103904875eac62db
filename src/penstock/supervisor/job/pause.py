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
"""Called with: whether the job is paused; and why that is not as was asked, for people, or ""."""


class Pausing:
    """The pausing of one job. Each request is answered once, and in order."""

    def __init__(self, loop: Loop, processes: Processes) -> None:
        self.paused = False
        """Whether the last pause succeeded and was not undone since."""
        self._loop = loop
        self._processes = processes
        self._waiting: list[Answer] = []
        self._left_s = 0.0
        self._again_s = _AGAIN_S
        self._timer: Timer | None = None

    def pause(self, answer: Answer) -> None:
        """Answers when all stand still; or that they do not, and then they are resumed."""
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
        """Resumes all, and answers at once; a pause that is under way fails."""
        self._end(False, "it was resumed meanwhile")
        done = not self.paused or self._freeze(False)
        self.paused = not done
        if answer is not None:
            answer(self.paused, "" if done else "it cannot be resumed; penstockd's log says why")

    def let_run(self, job_id: str) -> bool:
        """Undoes whatever makes the job stand still, a pause of ours or not, so that it can heed a
        signal. Logs what was found. Returns whether it was paused and is not any more."""
        paused = self.paused
        for found in self._processes.let_run():
            if not paused:  # otherwise it was frozen because a caller had asked for that
                log(f"job {job_id} is to hear a signal of its end: {found}")
        self.resume()
        return paused and not self.paused

    def server_gone(self) -> None:
        """No answer is sent: a pause that is under way is undone, a paused job stays so."""
        self._end(False, "nobody waits for it any more")

    def ended(self) -> None:
        """The main process has ended, so a pause that is under way fails."""
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
