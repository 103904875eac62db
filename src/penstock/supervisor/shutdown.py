"""How penstockd ends: the server first, then the jobs.

In this order, because the server stops the jobs itself and records their ends. What is left when it
has ended, or has had its time, is ended here, without records; the next server records it as lost.
"""

import signal
from collections.abc import Callable
from typing import Final

from .client_listeners import Listeners
from .dispatch import Dispatcher
from .kernel.loop import Loop
from .logs.supervisor_log import log
from .server_process import ServerProcess

# The server drains for config.drain_s and then stops its jobs, for which it has this time.
_SERVER_EXTRA_S: Final = 15.0
# How long the last jobs may take to die before penstockd logs them and ends without them.
_JOBS_BOUND_S: Final = 10.0
# The grace that the server gives jobs at a shutdown, and so this process, too.
_JOBS_GRACE_S: Final = 3.0


class Shutdown:
    """Stops the loop when nothing is left, or after _JOBS_BOUND_S without the last jobs."""

    def __init__(
        self,
        loop: Loop,
        requests: Dispatcher,
        listeners: Listeners,
        *,
        drain_s: Callable[[], float],
        ask_jobs: bool,
    ) -> None:
        """``ask_jobs``: jobs that no server has stopped get their own signal before KILL."""
        self.begun = False
        self.exit_code = 0
        self._loop = loop
        self._requests = requests
        self._listeners = listeners
        self._drain_s = drain_s
        self._ask_jobs = ask_jobs
        self._server: ServerProcess | None = None

    def begin(
        self, exit_code: int, server: ServerProcess | None, number: int = signal.SIGTERM
    ) -> None:
        """Begins, once. Later calls only send ``number`` to the server, which ends at once for its
        second signal."""
        if self.begun:
            if self._server is not None:
                self._server.signal(number)
            return
        self.begun = True
        self.exit_code = exit_code
        self._server = server
        self._requests.refuse_starts()
        self._listeners.close()
        if server is None:
            self._end_jobs()
        else:
            server.stop(self._drain_s() + _SERVER_EXTRA_S, self._end_jobs)

    def jobs_gone(self) -> None:
        """Called when the last job that was held is forgotten: nothing is left to wait for."""
        if self.begun and (self._server is None or not self._server.running):
            self._loop.stop()

    def _end_jobs(self) -> None:
        running = [job for job in self._requests.jobs.values() if job.pids()]
        if running and self._ask_jobs:
            # No server was there to stop them, so they get their signal first, as from a server.
            for job in running:
                job.ask_end()
            self._loop.after(_JOBS_GRACE_S, self._release_jobs)
        else:
            self._release_jobs()

    def _release_jobs(self) -> None:
        self._loop.after(_JOBS_BOUND_S, self._give_up)
        self._requests.release_all()

    def _give_up(self) -> None:
        for job in self._requests.jobs.values():
            log(f"job {job.id} does not die: processes {job.pids()}")
        self.exit_code = self.exit_code or 1
        self._loop.stop()
