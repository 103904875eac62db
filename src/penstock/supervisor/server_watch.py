"""Watches whether the server answers: one that stands still is killed, and another takes over.

It can be killed without loss, because the supervisor holds its jobs, and the next server takes them
over (C13 in docs/cancellation.md).
"""

import signal
import time
from collections.abc import Callable
from typing import Final

from .ipc.silence import BEAT_S, Silence
from .kernel.loop import Loop
from .logs.supervisor_log import LINES, log
from .server_process import ServerProcess

# How many times as long a server may be silent before it takes calls, because it reads the records
# of many jobs in one go.
_COMING_UP: Final = 6.0


class ServerWatch:
    """``heard`` at each message of the server; ``beat`` sends it one of ours."""

    def __init__(
        self,
        loop: Loop,
        server: ServerProcess | None,
        bound_s: Callable[[], float],
        beat: Callable[[], None],
    ) -> None:
        """``server`` None: the library's own process, which only gets our beats."""
        self._loop = loop
        self._server = server
        self._bound_s = bound_s
        self._beat = beat
        self._silence = Silence()
        self._pid: int | None = None
        self._serving = False
        self._beats = True
        self._asleep_s = 0.0
        loop.after(BEAT_S, self._next)

    def greeted(self, beats: bool) -> None:
        """The server has sent HELLO. ``beats``: it sends beats; one of an earlier version does not,
        and is not watched."""
        self._is_another()
        self._beats = beats
        self.heard()

    def serving(self) -> None:
        """The server takes calls from now on."""
        self._is_another()
        self._serving = True

    def heard(self) -> None:
        """A message came from the server."""
        self._silence.heard()
        self._asleep_s = 0.0

    def _next(self) -> None:
        self._loop.after(BEAT_S, self._next)
        LINES.tell_lost()  # without a line that would have to come first
        self._beat()
        missed = self._silence.beat(time.monotonic())
        if self._is_another():
            self.heard()
        elif missed and self._server is not None and self._pid is not None and self._beats:
            self._look(self._server, self._pid)

    def _is_another(self) -> bool:
        """Has the server ended since the last look, or was another started? Then nothing is known
        of it yet."""
        pid = None if self._server is None else self._server.pid
        if pid == self._pid:
            return False
        self._pid, self._serving, self._beats = pid, False, True
        return True

    def _look(self, server: ServerProcess, pid: int) -> None:
        if _state(pid) == "D":
            # It waits for a disk. KILL would have to wait for the same, so it would only cost the
            # server the calls that it could still answer.
            self._silence.silent_s -= BEAT_S
            before, self._asleep_s = self._asleep_s, self._asleep_s + BEAT_S
            if before < self._bound_s() <= self._asleep_s:
                log(
                    f"the server, process {pid}, does not answer for {self._asleep_s:g} s; it is "
                    "in an uninterruptible sleep, so a disk or a file system does not answer"
                )
        elif self._silence.silent_s >= self._bound_s() * (1.0 if self._serving else _COMING_UP):
            log(
                f"the server, process {pid}, does not answer for {self._silence.silent_s:g} s: "
                "it is killed, and another one takes its jobs over"
            )
            self._silence.heard()
            server.signal(signal.SIGKILL)


def _state(pid: int) -> str:
    """The state of its main thread, which has the event loop: a letter of proc(5), "" if gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()[0].decode()
    except OSError:
        return ""
