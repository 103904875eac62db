"""Runs a function in a child process and leaves nothing behind, whatever ends either of the two.

Theory of operation. Two processes watch each other. The outer one is what the user started and can
end; it does nothing but wait, and forwards signals. The inner one does the work, in a session of
its own, so that a terminal signals the outer one alone. Both are subreapers: an orphan of the work
becomes the inner's child, or the outer's if the inner is gone, and none is lost to init. When the
inner ends in any way, the outer ends all its descendants and removes the run. When the outer is
killed, the kernel sends the inner SIGTERM, and the inner does the same. If both are killed, the
next run removes what is left (see _test_run.remove_dead_runs).
"""

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NoReturn

from _test_run import Leftovers, Run, descendants, end_descendants, remove_run

# What ends a program at a terminal, and what a supervisor of services sends.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# Exit status of a run that was ended before its time, by its budget or because it hangs.
CUT = 124
_PR_SET_PDEATHSIG = 1
# Signals after which the inner process is not asked any more.
_PATIENCE = 3
_PR_SET_CHILD_SUBREAPER = 36


class Interrupted(BaseException):
    """The run is to end: a signal came, whose number this is."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def run_guarded(run: Run, act: Callable[[], int]) -> int:
    """The exit status of ``act``, which runs in a child process; 128 + n for a signal n.

    Afterwards nothing of the run is there. What a run that ended by itself has left is said, and
    makes it fail: tests clean up after themselves.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    _become_subreaper()
    outer = os.getpid()
    # None of these ends a process between the fork and its own handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    inner = os.fork()
    if inner == 0:
        _work(run, act, outer)
    watch = _Watch(inner)
    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and `&` ask for it
            signal.signal(number, watch.forward)
    if signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN:
        signal.signal(signal.SIGTSTP, watch.stand_still)
    # Also where the starter had blocked them: nothing else ends a run before its time.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    status = watch.wait()
    left = _remove(run)
    if watch.received:
        return 128 + watch.received[0]
    if status < 0:
        _say(f"ended by {signal.Signals(-status).name}; removed what it had left: {left}")
        return 128 - status
    if left and status == CUT:
        _say(f"removed what was left of it when it was cut: {left}")
    elif left:
        _say(f"FAILED tests have left something behind, which has been removed: {left}")
    return status or int(bool(left))


class _Watch:
    """What the outer process does with signals while the inner one works."""

    def __init__(self, inner: int) -> None:
        self.received: list[int] = []
        self._inner = inner
        self._ended = False

    def wait(self) -> int:
        """The inner's exit status, negative for a signal; reaps orphans meanwhile."""
        while True:
            pid, status = os.wait()
            if pid == self._inner:
                self._ended = True
                return os.waitstatus_to_exitcode(status)

    def forward(self, number: int, frame: FrameType | None) -> None:
        """The third time as KILL: a disk that stands still may hold the inner process."""
        if self._ended:  # its pid may be another process's by now
            return
        self.received.append(number)
        enough = len(self.received) >= _PATIENCE
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._inner, signal.SIGKILL if enough else signal.SIGTERM)

    def stand_still(self, number: int, frame: FrameType | None) -> None:
        """^Z: all of it, until the shell continues this process."""
        tree = () if self._ended else (self._inner, *descendants(self._inner))
        _signal_all(tree, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        _signal_all(tree, signal.SIGCONT)


def _signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _work(run: Run, act: Callable[[], int], outer: int) -> NoReturn:
    """The inner process; never returns."""
    status = 1
    try:
        os.setsid()
        _become_subreaper()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != outer:  # it died before that call
            os._exit(1)
        for number in ENDING:
            if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGTERM:
                signal.signal(number, _interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        status = act()
        sys.stdout.flush()
    except Interrupted as interrupted:
        status = 128 + interrupted.number
    except BaseException:  # noqa: ASYNC103, ASYNC104  os._exit below ends the process
        with contextlib.suppress(OSError):
            traceback.print_exc()
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        if os.getppid() != outer:
            _remove(run)
        os._exit(status)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # one is enough, and its cleanup is bounded
    raise Interrupted(number)


def _remove(run: Run) -> Leftovers:
    """Everything of the run, what its processes started under other names included."""
    left = Leftovers()
    end_descendants(left)
    return remove_run(run, left)


def _become_subreaper() -> None:
    """Orphans below this process become its children (prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _say(text: str) -> None:
    # The terminal can be gone by now.
    with contextlib.suppress(OSError):
        print(f"tools/test: {text}", file=sys.stderr, flush=True)
