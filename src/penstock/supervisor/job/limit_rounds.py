"""When each running job's limits are checked: within a minute, and when the server asks.

A look reads some files, a tenth of a millisecond, so it is done here, a few jobs each second. What
is not as it was set is put back by a process of its own, because lowering a limit of memory can
take long; one for a job at a time.
"""

import math
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from ..cgroups import LimitChange, LimitCheck
from ..kernel.loop import READ, Loop
from ..kernel.reap import disown, fork, reap_ended
from ..logs.supervisor_log import log

ROUND_S: Final = 60.0
_TICK_S: Final = 1.0
# A round takes so many ticks, a little less than a minute, so that no job waits longer.
_TICKS: Final = 55
# Usually it takes milliseconds. After this the state so far is reported, and again when it is done.
_PUT_BACK_S: Final = 1.0

Report = Callable[[str, Sequence[LimitChange]], None]


class LimitRounds:
    """``report`` gets a job's name and its changes, with what became of each, whenever there are
    any; the job's entries are up to date then."""

    def __init__(self, loop: Loop, report: Report) -> None:
        self._loop = loop
        self._report = report
        self._checks: dict[str, LimitCheck] = {}
        self._round: deque[str] = deque()
        self._share = 1
        self._putting_back: set[str] = set()
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        """The jobs whose limits are put back, each with the callbacks that wait for it."""
        self._ticking = False

    def add(self, name: str, limit_check: LimitCheck) -> None:
        """From now on the job is looked at, until ``remove``."""
        self._checks[name] = limit_check
        if not self._ticking:
            self._ticking = True
            self._loop.after(_TICK_S, self._tick)

    def remove(self, name: str) -> None:
        """From now on the job is not looked at. No error if there is no such job."""
        self._checks.pop(name, None)

    def check(self, name: str, done: Callable[[], None]) -> None:
        """Looks now. ``done`` is called when all is as it was set, or cannot be made so, or after
        _PUT_BACK_S; at once if there is nothing to put back."""
        if name in self._waiting:
            self._waiting[name].append(done)
            return
        limit_check = self._checks.get(name)
        changes = limit_check.changed() if limit_check is not None else []
        if limit_check is None or not changes or name in self._putting_back:
            done()
            return
        self._waiting[name] = [done]
        self._put_back(name, limit_check, changes)

    def _tick(self) -> None:
        if not self._checks:
            self._ticking = False
            return
        self._loop.after(_TICK_S, self._tick)
        if not self._round:
            self._round.extend(self._checks)
            self._share = math.ceil(len(self._round) / _TICKS)
        for _ in range(min(self._share, len(self._round))):
            self.check(self._round.popleft(), lambda: None)

    def _put_back(self, name: str, limit_check: LimitCheck, changes: Sequence[LimitChange]) -> None:
        pid, pidfd = _in_a_child(limit_check.put_back)
        if pid == 0:
            self._settle(name, limit_check, changes)  # the next look tries again
            return
        # A caller that asks meanwhile waits with the others; after the bound none does.
        self._putting_back.add(name)
        bound = self._loop.after(_PUT_BACK_S, lambda: self._settle(name, limit_check, changes))

        def ended() -> None:
            self._loop.forget(pidfd)
            os.close(pidfd)
            reap_ended(self._loop, pid, lambda *_: None)
            bound.cancel()
            self._putting_back.discard(name)
            self._settle(name, limit_check, changes)

        self._loop.watch(pidfd, READ, ended)

    def _settle(self, name: str, limit_check: LimitCheck, changes: Sequence[LimitChange]) -> None:
        waiting = self._waiting.pop(name, [])
        if name in self._checks:  # otherwise it has ended meanwhile
            done = limit_check.settle(changes)
            for each in done:
                log(f"job {name}: {_sentence(each)}")
            self._report(name, done)
        for each_done in waiting:
            each_done()


def _in_a_child(work: Callable[[], None]) -> tuple[int, int]:
    """The child's pid and pidfd; 0 if none can be made now."""
    try:
        pid = fork()
    except OSError as error:
        log(f"no process for putting limits back: {error.strerror}")
        return 0, -1
    if pid == 0:
        try:
            # Above all the server's connection, because it must end when the supervisor does.
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            work()
        finally:
            os._exit(0)
    try:
        return pid, os.pidfd_open(pid)
    except OSError as error:
        log(f"a process that puts limits back cannot be watched: {error.strerror}")
        os.kill(pid, signal.SIGKILL)
        disown(pid)
        return 0, -1


def _sentence(change: LimitChange) -> str:
    whose = "its" if change.of == "job" else "its client's"
    became = "was put back" if change.put_back else "cannot be put back now"
    return (
        f"{whose} {change.limit} limit was changed from outside, {change.file} was "
        f"{change.found!r}; it {became} to {change.held!r}"
    )
