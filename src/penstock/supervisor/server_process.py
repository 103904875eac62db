"""The server as the supervisor's child: started as its user, restarted when it dies."""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final

from .client_listeners import Listeners
from .ipc.protocol import FILES_REFUSED
from .isolation import leave_keyring
from .job.spawn import become, clear_capabilities, drop_bounding_set, no_new_privs, reset_signals
from .kernel.loop import READ, Loop, Timer
from .kernel.reap import disown, fork, reap_ended
from .logs.log_relay import Relay
from .logs.supervisor_log import log, log_of_server
from .socket_passing import pass_sockets_on
from .users.user_names import User

_FIRST_DELAY_S: Final = 0.1
_LAST_DELAY_S: Final = 10.0
# A server that came up can have been killed from outside, so its files are no reason to wait for
# long, and its jobs wait to be taken over.
_CAME_UP_DELAY_S: Final = 1.0
# One may be killed from outside, as it comes up; of two in a row the files are the reason.
_FAILING: Final = 2
_STEADY_S: Final = 10.0  # a server that lived so long begins with the first delay again


def server_command(config_path: str, run_dir: str) -> list[str]:
    """How the server is started. It is told where to connect, because the configuration's file may
    say something else by now, or cannot be read. -I, so that neither variables nor the working
    directory of the process that started penstockd can add code to it."""
    words = ("--config", config_path, "--run-dir", run_dir)
    return [sys.executable, "-I", "-m", "penstock.server", *words]


class ServerProcess:
    """Keeps one server running. ``stop`` ends it; ``on_stopped`` is called then.

    ``prepare`` is called before each start, to make what a server needs. Each server has copies of
    the listening sockets. ``on_files_refused`` is called when one has ended because it cannot use
    the files; whether no other one is to be started for it.
    """

    def __init__(
        self,
        loop: Loop,
        argv: Sequence[str],
        user: User | None,
        prepare: Callable[[], None] = lambda: None,
        listeners: Listeners | None = None,
        on_files_refused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._loop = loop
        self._argv = list(argv)
        self._user = user
        self._prepare = prepare
        self._listeners = listeners or Listeners(())
        self._on_files_refused = on_files_refused
        self._pid = 0
        self._pidfd = -1
        self._delay_s = _FIRST_DELAY_S
        self._ends_in_order = False
        self._failures = 0
        self._steady: Timer | None = None
        self._restart: Timer | None = None
        self._on_stopped: Callable[[], None] | None = None
        self._relay = Relay(loop, log_of_server)

    @property
    def pid(self) -> int | None:
        """The pid of the server that runs now."""
        return self._pid if self.running else None

    @property
    def running(self) -> bool:
        """Is there a server process?"""
        return self._pidfd >= 0

    def start(self) -> None:
        """Forks and executes the server."""
        self._ends_in_order = False
        self._prepare()
        self._listeners.listen_again()
        try:
            log_fd = self._relay.open()
        except OSError as error:
            self._start_again(f"cannot have a log: {error.strerror}")
            return
        try:
            self._pid = fork()
            if self._pid == 0:
                self._run(log_fd)
        except OSError as error:
            self._start_again(f"cannot be forked: {error.strerror}")
            return
        finally:
            os.close(log_fd)
        try:
            self._pidfd = os.pidfd_open(self._pid)
        except OSError as error:  # out of descriptors, so its end could not be seen
            os.kill(self._pid, signal.SIGKILL)
            disown(self._pid)
            self._start_again(f"cannot be watched: {error.strerror}")
            return
        self._loop.watch(self._pidfd, READ, self._exited)
        self._steady = self._loop.after(_STEADY_S, self._is_steady)

    def stop(self, kill_after_s: float, on_stopped: Callable[[], None]) -> None:
        """SIGTERM, and SIGKILL after so many seconds; calls back when it is gone."""
        self._on_stopped = on_stopped
        if self._restart is not None:
            self._restart.cancel()
        if self._pidfd < 0:
            on_stopped()
            return
        self.signal(signal.SIGTERM)
        self.kill_after(kill_after_s)

    def kill_after(self, seconds: float) -> None:
        """Sends SIGKILL after so many seconds, to this server only; another is started then."""
        pid = self._pid

        def kill() -> None:
            if self._pid == pid:
                self.signal(signal.SIGKILL)

        self._loop.after(seconds, kill)

    def signal(self, number: int) -> None:
        """Sends a signal, if the server is alive."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return

    @property
    def fails(self) -> bool:
        """Have the latest servers all ended before one of them took calls?"""
        return self._failures >= _FAILING

    def serving(self) -> None:
        """The server takes calls."""
        self._failures = 0

    def came_up(self) -> None:
        """The server has connected, so if it ends now, its files are not the reason."""
        self._delay_s = min(self._delay_s, _CAME_UP_DELAY_S)

    def take_lines(self) -> None:
        """Writes into the log what the server has written so far, so that these lines come before
        what its messages, which come another way, make this process write."""
        self._relay.take()

    def restart(self, number: int) -> None:
        """Sends the signal that makes it end in order; the next server is started at once then."""
        self._ends_in_order = True
        self.signal(number)

    def _is_steady(self) -> None:
        self._delay_s = _FIRST_DELAY_S

    def _exited(self) -> None:
        self._loop.forget(self._pidfd)
        reap_ended(self._loop, self._pid, self._reaped)

    def _reaped(self, status: int | None, _: dict[str, float]) -> None:
        os.close(self._pidfd)
        self._pidfd = -1
        self._relay.close()
        if self._steady is not None:
            self._steady.cancel()
        if self._on_stopped is not None:
            self._on_stopped()
            return
        if status == 0 and self._ends_in_order:
            self.start()  # clients wait for it already
            return
        how = "has ended, held by a tracer"
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            how = f"exited with {code}" if code >= 0 else f"was killed by signal {-code}"
            if code == FILES_REFUSED:
                if self._on_files_refused():
                    return
                how = "cannot use the files"
        self._start_again(how)

    def _start_again(self, why: str) -> None:
        self._failures += 1
        log(f"the server {why}; starting it again in {self._delay_s:g} s")
        self._restart = self._loop.after(self._delay_s, self.start)
        self._delay_s = min(_LAST_DELAY_S, self._delay_s * 2)

    def _run(self, log_fd: int) -> None:
        """In the child. Never returns."""
        try:
            os.dup2(log_fd, 1)
            os.dup2(log_fd, 2)
            os.setsid()  # so that ^C reaches the supervisor alone, which ends the server in order
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            variables = pass_sockets_on(self._listeners.fds)
            reset_signals()
            if self._user is not None:
                leave_keyring()
                drop_bounding_set()
                become(self._user)
                clear_capabilities()
            no_new_privs()
            os.chdir("/")
            variables |= {"PATH": os.defpath, "LANG": "C.UTF-8"}
            os.execve(self._argv[0], self._argv, variables)
        except OSError as error:
            os.write(2, f"cannot be executed: {error}\n".encode())
        finally:
            os._exit(127)
