"""penstockd: reads its files, starts the server, holds the jobs, ends everything in order."""

import argparse
import os
import signal
import socket
import stat
import sys
from dataclasses import asdict
from typing import Any, Final

from . import protocol, workdirs
from .channel import Peer, listen
from .child import ServerProcess
from .config import Config, ConfigError, check_server_user, parse_config
from .executables import Executable, ExecutableError, open_executable
from .groups import detect
from .limits import LIMIT_NAMES, Enforcement
from .loop import READ, Loop, Timer
from .paths import check_root
from .policy import Policy, PolicyError, check_mode, parse_policy, shell_warnings
from .requests import Host, Requests
from .users import User, UserError, own_user, resolve_user

SOCKET_NAME: Final = "supervisor.sock"
# The server drains for config.drain_s and stops its jobs; then it has had its time.
_SERVER_EXTRA_S: Final = 10.0

USER_MODE_WARNINGS: Final = (
    "no limits: penstockd does not run as root, so no job is held to its class",
    "no separation: jobs, server and supervisor are one user, so a job could read or change "
    "logs, records and keys",
)


class StartupError(Exception):
    """penstockd cannot start; each line says what is wrong and what to do."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def log(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"penstockd: {text}\n")
    sys.stderr.flush()


class Daemon:
    """The supervisor's life from a good configuration to the last job."""

    def __init__(self, options: argparse.Namespace, config: Config, policy_data: bytes) -> None:
        self._options = options
        self._config = config
        self._policy_data = policy_data
        self._policy = parse_policy(policy_data)
        self._root = os.geteuid() == 0
        self._server_user = _server_user(config, options.no_server, self._root)
        users, executables = _check_policy(self._policy, self._server_user, self._root)
        self._hierarchy = detect(config.cgroup_parent)
        if self._hierarchy is None and self._root:
            raise StartupError(
                ["no cgroup hierarchy can be written; mount cgroups read-write for penstockd"]
            )
        if not self._root:
            self._hierarchy = None  # delegation to ordinary users is not supported yet
        self._loop = Loop()
        host = Host(
            self._policy,
            executables,
            users,
            self._hierarchy,
            config.work_root,
            config.max_jobs,
        )
        self._requests = Requests(self._loop, host, self._jobs_empty)
        self._peer: Peer | None = None
        self._server: ServerProcess | None = None
        self._orphan_timer: Timer | None = None
        self._listener: socket.socket | None = None
        self._stopping = False
        self._exit_code = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until nobody wants it any more. The exit status."""
        if self._hierarchy is not None and (swept := self._hierarchy.sweep()):
            log(f"removed {swept} groups of an earlier life")
        _make_directories(self._config, self._server_user)
        workdirs.sweep(self._config.work_root)
        self._watch_signals()
        path = os.path.join(self._config.run_dir, SOCKET_NAME)
        self._listener = listen(path, self._server_user.gid if self._root else None)
        self._loop.watch(self._listener.fileno(), READ, self._accept)
        self._watch_for_orphaning()
        if self._options.parent_fd is not None:
            self._loop.watch(self._options.parent_fd, READ, self._parent_gone)
        if self._options.ready_fd is not None:
            os.write(self._options.ready_fd, b"R")
            os.close(self._options.ready_fd)
        if not self._options.no_server:
            argv = [sys.executable, "-I", "-m", "penstock.server", "--config", self._options.config]
            user = self._server_user if self._root else None
            self._server = ServerProcess(self._loop, argv, user, log)
            self._server.start()
        for warning in shell_warnings(self._policy):
            log(f"warning: {warning}")
        kind = self._hierarchy.kind if self._hierarchy else "none, nothing is limited"
        log(f"ready; cgroups: {kind}; policy {self._policy.hash[:12]}")
        try:
            self._loop.run()
        finally:
            self._listener.close()
            os.unlink(path)
            if self._hierarchy is not None:
                self._hierarchy.remove_parent()
        return self._exit_code

    def _watch_signals(self) -> None:
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_fd)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

        def told() -> None:
            for number in os.read(read_fd, 64):
                if number == signal.SIGHUP:
                    log("SIGHUP: reading the policy again is not supported yet; restart instead")
                elif number in (signal.SIGTERM, signal.SIGINT):
                    log(f"{signal.Signals(number).name}: stopping")
                    self._stop(0, number)

        self._loop.watch(read_fd, READ, told)

    def _stop(self, exit_code: int, number: int = signal.SIGTERM) -> None:
        """Server first, so that its end records are written; then what is left of the jobs."""
        if self._stopping:
            if self._server is not None:
                self._server.signal(number)  # its second one: it ends at once
            return
        self._stopping = True
        self._exit_code = exit_code
        if self._server is None:
            self._requests.abandon_all()
        else:
            bound_s = self._config.drain_s + _SERVER_EXTRA_S
            self._server.stop(bound_s, self._requests.abandon_all)

    def _jobs_empty(self) -> None:
        if self._stopping and (self._server is None or not self._server.running):
            self._loop.stop()

    def _parent_gone(self) -> None:
        self._loop.forget(self._options.parent_fd)
        self._stop(0)

    def _watch_for_orphaning(self) -> None:
        def orphaned() -> None:
            log(f"no server for {self._config.orphan_timeout_s:g} s; ending all jobs")
            self._stop(1)

        self._orphan_timer = self._loop.after(self._config.orphan_timeout_s, orphaned)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            log(f"accepting a server: {error}")
            return
        peer = Peer(self._loop, connection, self._hello, self._peer_closed)
        if peer.uid != self._server_user.uid:
            log(f"refused a connection of user {peer.uid}, which is not the server's")
            peer.close("refused")
        elif self._peer is not None:
            log(f"refused a second server, process {peer.pid}")
            peer.close("refused")
        else:
            self._peer = peer
            if self._orphan_timer is not None:
                self._orphan_timer.cancel()

    def _hello(self, message: dict[str, Any]) -> None:
        peer = self._peer
        if peer is None:
            raise protocol.ProtocolError("no server is known")
        if message["type"] != protocol.HELLO:
            self._requests.answer(message, peer.send)
            return
        if message.get("version") != protocol.VERSION:
            raise protocol.ProtocolError(f"version {message.get('version')!r} is not spoken here")
        policy_fd = os.memfd_create("policy", os.MFD_CLOEXEC)
        try:
            os.write(policy_fd, self._policy_data)
            peer.send(protocol.WELCOME, [policy_fd], **self._welcome())
        finally:
            os.close(policy_fd)

    def _welcome(self) -> dict[str, Any]:
        if self._hierarchy is not None:
            limits = self._hierarchy.capabilities()
        else:
            limits = [Enforcement(name, "unavailable", detail="no root") for name in LIMIT_NAMES]
            limits[-1] = Enforcement("output", "enforced", detail="kept by penstock itself")
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot_id = file.read().strip()
        return {
            "version": protocol.VERSION,
            "mode": "root" if self._root else "user",
            "kind": self._hierarchy.kind if self._hierarchy else "tree",
            "boot_id": boot_id,
            "policy": self._policy.hash,
            "limits": [asdict(entry) for entry in limits],
            "max_jobs": self._config.max_jobs,
            "warnings": [] if self._root else list(USER_MODE_WARNINGS),
            "fds": ["policy"],
        }

    def _peer_closed(self, why: str) -> None:
        if why == "refused":
            return
        self._peer = None
        log(f"the server's connection ended: {why}")
        # Taking over running jobs is not built yet: the next server could not know them.
        if not self._stopping:
            self._requests.abandon_all()
            if self._options.no_server:
                self._stop(0)
            else:
                self._watch_for_orphaning()


def _server_user(config: Config, no_server: bool, root: bool) -> User:
    mistakes = [] if no_server else check_server_user(config, root=root)
    if mistakes:
        raise StartupError(mistakes)
    if config.server_user is None:
        return own_user()
    try:
        user = resolve_user(config.server_user)
    except UserError as error:
        raise StartupError([f"server_user: {error}"]) from None
    if user.uid == 0:
        raise StartupError(["server_user: the server must not run as root; name another user"])
    return user


def _check_policy(
    policy: Policy, server_user: User, root: bool
) -> tuple[dict[str, User], dict[str, Executable]]:
    """Users and open executables by command. Raises StartupError with every mistake."""

    def uid_of(name: str) -> int:
        try:
            return resolve_user(name).uid
        except UserError:
            raise KeyError(name) from None

    mistakes = check_mode(policy, root=root, server_uid=server_user.uid, resolve_user=uid_of)
    owners = frozenset({0, os.geteuid()})
    executables: dict[str, Executable] = {}
    for command in policy.commands.values():
        try:
            executables[command.name] = open_executable(command.path, owners)
        except ExecutableError as error:
            mistakes.append(f"commands.{command.name}.path: {error}")
        for path_root in command.grammar.roots():
            found = check_root(path_root, owners)
            mistakes += [f"commands.{command.name}.arguments: {text}" for text in found]
    if mistakes:
        raise StartupError(mistakes)
    users = {
        command.name: resolve_user(command.user)
        for command in policy.commands.values()
        if command.user is not None and root
    }
    return users, executables


def _make_directories(config: Config, server_user: User) -> None:
    root = os.geteuid() == 0
    os.makedirs(config.run_dir, mode=0o750, exist_ok=True)
    os.makedirs(config.work_root, mode=0o711, exist_ok=True)
    if root:
        os.chown(config.run_dir, 0, server_user.gid)
    os.chmod(config.run_dir, 0o750)


def check_own_files() -> list[str]:
    """Mistakes of the supervisor's own files: nobody but root, or who runs it, may write them."""
    directory = os.path.dirname(os.path.abspath(__file__))
    trusted = {0, os.geteuid()}
    mistakes = []
    for folder, _, names in os.walk(directory):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            status = os.lstat(path)
            if status.st_uid not in trusted or (
                status.st_mode & 0o022 and not stat.S_ISLNK(status.st_mode)
            ):
                mistakes.append(f"{path} can be written by others; chown it to root, chmod go-w")
    return mistakes


def main(arguments: list[str]) -> int:
    """Exit status 0 after a stop, 1 if it was orphaned, 2 if it could not start."""
    parser = argparse.ArgumentParser(prog="penstockd", description="Runs granted commands.")
    parser.add_argument("--config", required=True, metavar="FILE", help="the configuration, TOML")
    parser.add_argument("--no-server", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--parent-fd", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.config = os.path.abspath(options.config)
    os.umask(0o022)
    for fd in (options.ready_fd, options.parent_fd):
        if fd is not None:
            os.set_inheritable(fd, False)
    try:
        if mistakes := check_own_files():
            raise StartupError(mistakes)
        with open(options.config, "rb") as file:
            config = parse_config(file.read(), library=options.no_server)
        with open(config.policy, "rb") as file:
            policy_data = file.read()
        return Daemon(options, config, policy_data).run()
    except (ConfigError, PolicyError, StartupError) as error:
        for mistake in error.mistakes:
            log(mistake)
    except OSError as error:
        log(f"{error.filename or ''}: {error.strerror}")
    return 2
