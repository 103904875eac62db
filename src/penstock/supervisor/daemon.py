"""penstockd's life: starts the server, holds the jobs, ends everything in order.

Theory of operation. This process outlives servers, and its jobs must not outlive it. Its life has
four parts, each of which may assume that the one before is done.

1. ``__init__`` checks everything and locks what must be its own; it starts nothing that lasts, so
   a StartupError leaves nothing behind. The order is not free: locks come before what is locked is
   touched, an earlier server is ended before its addresses are listened on, and what an earlier
   life has left is removed before anything needs room, because it may be what fills the disk.
2. ``_begin`` puts everything that happens later into the loop (kernel/loop.py): signals, the child
   that writes the log, the sentinel, the socket for the server, and then the server.
3. The loop runs. A server sends HELLO, gets WELCOME, takes over the jobs that it finds, and sends
   SERVING. When a server goes, its jobs run on and their news are kept for the next one, which
   ServerProcess starts. Meanwhile the orphan timer runs: jobs that no server can be asked about for
   ``orphan_timeout_s`` are ended. SERVING ends that timer and HELLO does not, because a server that
   comes up and fails, again and again, is no server for jobs.
4. ``_stop`` begins the end, whatever its reason: a signal, the orphan timer, the end of the library
   that started this process. Shutdown has the order from there.

Of the library's supervisor (``--no-server``) the connection is the life: no server is started, and
when the connection ends, so do the jobs.

One race shaped ``_message``: this process may stand still (SIGSTOP, a suspended machine) while a
server gives it up and its client is told to ask another one. A START that was queued before that
must not be obeyed afterwards, so it is dropped if its sender has hung up by then.
"""

import argparse
import contextlib
import gc
import os
import signal
from typing import Final

from ..policy.generation_hash import generation_hash
from ..policy.settings_in_force import settings_text
from . import earlier_server, leftovers, locks, startup
from .cgroups import Hierarchy, Swept, block_device
from .client_listeners import open_listeners
from .dispatch import Dispatcher
from .examination import Examined
from .files.program_files import ProgramFiles
from .files_in_force import FilesInForce
from .ipc.from_server import Serving, Start
from .ipc.handshake import FilesTold, Greeting
from .ipc.message_base import Beat, Message
from .ipc.server_listener import ServerListener
from .ipc.server_socket import ServerPeer
from .isolation import kept, missing_by_default
from .isolation_probe import probe
from .job import rlimits
from .job.spawn import PR_SET_CHILD_SUBREAPER, drop_bounding_set, prctl
from .job.start_check import StartCheck
from .job_launch import Host
from .kernel.loop import READ, Loop, Timer
from .kernel.reap import strangers
from .logs.log_file import LogFile
from .logs.supervisor_log import log
from .planned_restart import PlannedRestarts
from .policy_checks import disk_warnings, policy_warnings
from .reload_service import ReloadService
from .sentinel import Sentinel
from .server_process import ServerProcess, server_command
from .server_watch import ServerWatch
from .shutdown import Shutdown
from .signal_events import watch_signals
from .startup_report import StartupReport
from .storage.project_quota import ProjectQuotas
from .users.command_users import allocate_users, open_users, userless_clients

# A server whose connection has ended ends by itself, within this time; otherwise it is killed.
_SERVER_LINGER_S: Final = 15.0


class Daemon:
    """The supervisor's life from a good configuration to the last job."""

    def __init__(self, options: argparse.Namespace, examined: Examined) -> None:
        """Locks what must be its own. ``examined`` has no mistakes. Raises StartupError and
        others."""
        self._options = options
        config, policy, on_host, self._server_user = examined.good()
        self._config = config
        self._root = os.geteuid() == 0
        self._run_directory = startup.make_directories(
            config, self._server_user, root=self._root, server=not options.no_server
        )
        self._locks = locks.lock_files(config, self._run_directory)
        users = open_users(policy, config, on_host.users, root=self._root)
        if not options.no_server:
            earlier_server.end(config, self._server_user)
        self._listeners = open_listeners(config, os.environ, server=not options.no_server)
        # Delegation of groups to ordinary users is not supported yet.
        self._hierarchy: Hierarchy | None = None
        if self._root:
            self._hierarchy, own = locks.find_groups(config)
            self._locks += own
        # Before anything else needs room: it may be what fills the disk.
        swept = leftovers.remove(self._hierarchy, config.work_root)
        self._loop = Loop()
        self._log_file = LogFile(self._loop)
        lower = rlimits.raise_own(policy.classes.values(), startup.needed_descriptors(config))
        self._sentinel: Sentinel | None = None
        if self._hierarchy is not None:
            self._sentinel = Sentinel(self._loop, self._hierarchy, self._locks[-1])
        max_jobs = startup.most_jobs(config)
        offers = probe(config.work_root, config.run_dir)
        programs = ProgramFiles(on_host.executables, frozenset({0, os.geteuid()}))
        script_warnings = programs.add_scripts(policy)
        configuration, policy_data = examined.config_data, examined.policy_data
        generation = generation_hash(configuration, policy_data)
        grants = StartCheck(policy, generation, programs, users, options.no_server, on_host.owners)
        quotas = ProjectQuotas(config.work_root)
        quotas.sweep()
        host = Host(grants, self._hierarchy, offers, config.work_root, max_jobs, quotas)
        self._requests = Dispatcher(self._loop, host, self._jobs_gone)
        disk = block_device(config.work_root)
        told = FilesTold(policy.hash, policy_data, configuration, settings_text(config), max_jobs)
        self._welcome = Greeting(told, self._hierarchy, offers, disk, quotas.entries())
        self._welcome.swept = swept
        self._files = FilesInForce(
            *(self._loop, options.config, config, grants),
            (self._requests, self._welcome, self._hierarchy, self._listeners),
            quotas=not quotas.missing,
            lower=lower,
        )
        self._shutdown = Shutdown(
            *(self._loop, self._requests, self._listeners),
            drain_s=lambda: self._files.config.drain_s,
            ask_jobs=not options.no_server,
        )
        warnings = policy_warnings(policy) + script_warnings + missing_by_default(offers) + lower
        warnings += kept() + allocate_users(users, policy)
        self._welcome.userless = userless_clients(users, policy)
        if not options.no_server:
            warnings += disk_warnings(config, quotas=not quotas.missing)
        paths = (options.config, config.policy, config.supervisor_dir)
        if self._root:
            warnings += startup.replaceable(paths)
        self._report = StartupReport(
            *(warnings, self._welcome, self._listeners, self._hierarchy),
            wanted_jobs=config.max_jobs,
            config_path=options.config,
        )
        self._server: ServerProcess | None = None
        self._reception: ServerListener | None = None
        self._watch: ServerWatch | None = None
        self._reloads: ReloadService | None = None
        self._restarts: PlannedRestarts | None = None
        self._orphan_timer: Timer | None = None
        self._has_served = False

    def run(self) -> int:
        """Runs until SIGTERM or SIGINT, or until no server and no library wants its jobs any more.

        Returns the exit status.
        """
        try:
            self._begin()
            self._loop.run()
            if self._sentinel is not None:
                self._sentinel.end()
        except BaseException:
            # A bug of ours: no job may be left without a process that holds it.
            for job in self._requests.jobs.values():
                job.kill()
            raise
        finally:
            # Python restores the default handlers as it ends, so a late SIGTERM would change the
            # exit status. They are blocked, not ignored, because Python would complain of a race
            # about one that has just come.
            late = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2}
            signal.pthread_sigmask(signal.SIG_BLOCK, late)
            if self._reloads is not None:
                self._reloads.close()
            if self._reception is not None:
                self._reception.close()
            if self._hierarchy is not None:
                self._hierarchy.remove_base()
            self._log_file.end()
        return self._shutdown.exit_code

    def _begin(self) -> None:
        """Starts all that runs in the loop. Raises OSError."""
        watch_signals(self._loop, self._signaled)
        self._log_file.start()
        if self._root:
            with contextlib.suppress(OSError):  # the child that needs it reports the error
                drop_bounding_set()
        if self._hierarchy is None:
            prctl(PR_SET_CHILD_SUBREAPER, 1)  # for jobs whose subreaper is killed
        self._reception = ServerListener(
            self._loop,
            self._run_directory,
            uid=self._server_user.uid,
            gid=self._server_user.gid if self._root else None,
            expected_pid=self._expected_pid,
            on_hello=self._hello,
            on_message=self._message,
            on_gone=self._server_gone,
        )
        if self._sentinel is not None:
            self._sentinel.start()
        self._await_server()
        if self._options.parent_fd is not None:
            self._loop.watch(self._options.parent_fd, READ, self._parent_gone)
        if self._options.ready_fd is not None:
            with contextlib.suppress(BrokenPipeError):  # the parent has ended, or waits no more
                os.write(self._options.ready_fd, b"R")
            os.close(self._options.ready_fd)
        if not self._options.no_server:
            argv = server_command(self._options.config, self._config.run_dir)
            user = self._server_user if self._root else None
            self._server = ServerProcess(
                *(self._loop, argv, user, self._listen_again, self._listeners),
                self._files_refused,
            )
            self._reloads = ReloadService(
                *(self._loop, self._files, self._reception, self._server, self._run_directory)
            )
            self._restarts = PlannedRestarts(
                *(self._loop, self._files, self._server, self._reception),
                lambda: self._shutdown.begun,
            )
            self._server.start()
        self._watch = ServerWatch(
            *(self._loop, self._server),
            lambda: self._files.config.server_silence_s,
            self._reception.beat,
        )
        self._report.say_warnings()
        if self._options.no_server:
            self._report.say_ready()
        # What is there now stays for good, so no collection, here or in a child, need look at it.
        gc.collect()
        gc.freeze()

    def _listen_again(self) -> None:
        if self._reception is not None:
            self._reception.listen_again()
        if self._reloads is not None:
            self._reloads.listen_again()

    def _expected_pid(self) -> int | None:
        """The pid of our own server; -1 while there is none; None where the library connects."""
        if self._options.no_server:
            return None
        return self._server.pid or -1 if self._server is not None else -1

    def _signaled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            strangers()  # as init of a container: reaps orphans that the kernel gave to us
        elif number == signal.SIGHUP:
            self._reload()
        elif number == signal.SIGUSR2:
            if self._restarts is not None:
                self._restarts.ask()
        else:
            log(f"{signal.Signals(number).name}: stopping")
            self._stop(0, number)

    def _reload(self) -> None:
        if not self._shutdown.begun:
            self._listen_again()  # as no verb can ask on control.sock once it was removed
        self._tell_server(signal.SIGHUP)  # which opens the audit log anew
        if self._reloads is not None:
            self._reloads.hang_up()

    def _tell_server(self, number: int) -> None:
        # Not before its HELLO, because a server has no handlers until then, and would die of it.
        if self._server is not None and self._reception is not None and self._reception.greeted:
            self._server.signal(number)

    def _stop(self, exit_code: int, number: int = signal.SIGTERM) -> None:
        if self._reloads is not None:
            self._reloads.stop()
        self._shutdown.begin(exit_code, self._server, number)

    def _jobs_gone(self) -> None:
        self._shutdown.jobs_gone()

    def _files_refused(self) -> bool:
        """The server cannot use the files. Ends penstockd where that is how it begins; later ones
        are tried again, because jobs may be held, and files may be on their way."""
        if self._has_served or self._requests.jobs:
            return False
        log("nothing was started, because the server cannot use the files, as it says above")
        self._stop(2)
        return True

    def _parent_gone(self) -> None:
        self._loop.forget(self._options.parent_fd)
        log("the process that started this one is gone: stopping")
        self._stop(0)

    def _await_server(self) -> None:
        bound_s = self._files.config.orphan_timeout_s

        def orphaned() -> None:
            log(f"no server for {bound_s:g} s; ending all jobs")
            self._stop(1)

        self._orphan_timer = self._loop.after(bound_s, orphaned)

    def _message(self, message: Message, peer: ServerPeer) -> None:
        if self._watch is not None:
            self._watch.heard()
        if isinstance(message, Beat):
            return
        if isinstance(message, Serving):
            self._served()
        elif self._reloads is not None and self._reloads.take(message):
            return
        elif isinstance(message, Start) and peer.hung_up:
            # We have stood still, and it has given us up: its client was told to ask again.
            log(f"a START of a server that is gone is not heeded: job {message.id}")
        else:
            self._requests.answer(message, peer.send)

    def _served(self) -> None:
        """A server takes calls: it has the jobs, and has written down what was swept."""
        self._welcome.swept = Swept()
        self._has_served = True
        if self._watch is not None:
            self._watch.serving()
        if self._orphan_timer is not None:
            self._orphan_timer.cancel()
        if self._server is not None:
            self._server.take_lines()
        self._report.say_ready()
        if self._reloads is not None:
            self._reloads.serving()

    def _hello(self, peer: ServerPeer) -> None:
        if self._options.no_server:  # the library sends no SERVING
            self._served()
        if self._watch is not None and self._reception is not None:
            self._watch.greeted(self._reception.beats)
        if self._server is not None:
            self._server.came_up()
        self._files.server_begins()
        self._welcome.send(peer)

    def _server_gone(self, pid: int, greeted: bool) -> None:
        if greeted:
            self._requests.disconnect()
        if self._reloads is not None:
            self._reloads.gone()
        if self._shutdown.begun:
            return
        if self._server is not None and self._server.pid == pid:
            # It has closed the connection itself, so it is ending, and logs why as it does.
            self._server.kill_after(_SERVER_LINGER_S)
        if greeted and self._options.no_server:  # the library's connection is its life
            self._stop(0)
        elif greeted and (self._orphan_timer is None or not self._orphan_timer.pending):
            self._await_server()
