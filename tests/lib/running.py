"""A real penstockd for system tests: own directory, certificates, policy, port and groups."""

import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from patience import patient
from pki import Pki, make_pki
from ports import reserved_port
from supervisor_peer import wait_dead
from this_run import job_uids, new_directory, new_group

from penstock.client import Endpoint

# Without entries in passwd, so that no account of the machine is borrowed.
SERVER_UID = 65530
JOB_UID = 65531
IS_ROOT = os.geteuid() == 0
START_TIMEOUT_S = patient(20)
END_TIMEOUT_S = patient(20)
CLIENTS = ("alice", "bob", "carol")

_CLASSES = """
[classes.small]
cpu = "10%"
memory = "100MB"
disk = "10MB/s"
processes = 64
needs = {needs}

[classes.free]
processes = 256
output = "unlimited"
needs = {needs}
"""


def script(name: str, text: str, *, limits: str = "free", grace: str = "5s") -> str:
    """A command of the policy that runs a fixed shell script."""
    # Below /var/tmp, of which a job has one of its own.
    shown = 'writable = ["@dir"]\n' if "@dir" in text else ""
    return (
        f'[commands.{name}]\npath = "/bin/sh"\nclass = "{limits}"\ngrace = "{grace}"\n@user\n'
        f"fixed = ['-c', {json.dumps(text)}]\n{shown}"
    )


def policy_text(commands: str, clients: str) -> str:
    """A policy in the form that this user's rights admit.

    ``@user`` in ``commands`` stands where a command of the root form names its user, and
    ``@dir`` for the server's directory, which exists when the server starts.
    """
    needs = '{ disk = "direct_io" }' if IS_ROOT else '{ all = "best_effort" }'
    user = f'user = "{JOB_UID}"' if IS_ROOT else ""
    return (_CLASSES.replace("{needs}", needs) + commands + clients).replace("@user", user)


@dataclass
class RunningServer:
    """Where a started penstockd is, and what tests do with it."""

    directory: Path
    port: int
    pki: Pki = field(repr=False)
    process: subprocess.Popen[bytes] = field(init=False)
    cgroup_parent: str
    log_lines: list[str] = field(repr=False)

    async def logged(self, text: str) -> None:
        """Until penstockd's log has a line with ``text``: a thread reads it, later than we look."""
        with trio.fail_after(patient(20)):
            while not any(text in line for line in self.log_lines):  # noqa: ASYNC110 - no event
                await trio.sleep(0.01)

    def environment(self, client: str) -> dict[str, str]:
        """PENSTOCK_* settings of one client, on top of a plain environment."""
        pair = self.pki.clients[client]
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "PENSTOCK_ADDR": f"127.0.0.1:{self.port}",
            "PENSTOCK_CA": str(self.pki.ca),
            "PENSTOCK_CERT": str(pair.certificate),
            "PENSTOCK_KEY": str(pair.key),
        }

    def cli(
        self, client: str, *arguments: str, timeout_s: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """The real CLI, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "penstock.cli", *arguments],
            env=self.environment(client),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patient(timeout_s),
            check=False,
        )

    def endpoint(self, client: str) -> Endpoint:
        """For the Python client."""
        pair = self.pki.clients[client]
        return Endpoint("127.0.0.1", self.port, self.pki.ca, pair.certificate, pair.key)

    def start(self, client: str, *command: str) -> str:
        """Starts a job and returns its handle."""
        done = self.cli(client, "start", *command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.rsplit("PID: ", 1)[1].strip()

    def audit(self) -> list[dict[str, Any]]:
        """Every line of the audit log so far."""
        text = (self.directory / "state" / "audit.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def server_pid(self) -> int:
        """The unprivileged child of the supervisor."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in children.read_text().split():
            if b"penstock.server" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        raise AssertionError("the supervisor has no server")

    def parents(self) -> list[Path]:
        """The own parent group in every hierarchy that has it."""
        found = []
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[fields.index("-") + 1] in ("cgroup", "cgroup2"):
                found.append(Path(fields[4] + self.cgroup_parent))
        return [path for path in found if path.is_dir()]

    def groups(self) -> list[Path]:
        """Every group below the own parent, in every hierarchy."""
        # os.walk, as groups are removed meanwhile, and rglob raises then.
        return [
            Path(folder, name)
            for parent in self.parents()
            for folder, names, _ in os.walk(parent)
            for name in names
        ]

    def remove_groups(self) -> None:
        """What a killed supervisor has left; fails where a process does not die.

        All that were killed are waited for: a test has seen the end of a job's main process, and
        others of its tree may be a moment later."""
        for group in [*sorted(self.groups(), reverse=True), *self.parents()]:
            for pid in (group / "cgroup.procs").read_text().split():
                assert wait_dead(int(pid)), f"process {pid} is in {group} still"
            _remove_group(group)


def _remove_group(group: Path) -> None:
    """A group of v1 can be busy for a moment after its last process, and nobody tells of that."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while True:
        try:
            group.rmdir()
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


@contextlib.contextmanager
def running_server(
    policy: str,
    *,
    crl: bool = False,
    fresh: bool = False,
    transport: Mapping[str, float | int] | None = None,
    prefix: Sequence[str] = (),
    tls: Callable[[Path], Mapping[str, str | bool]] | None = None,
    **config: str | float | int | None,
) -> Iterator[RunningServer]:
    """A penstockd that listens, ended and checked for leftovers afterwards.

    ``tls`` gets the directory of certificates, and returns keys of [tls] in the place of the usual.
    With ``crl`` it has a revocation list, ``pki.write_crl``'s, which is empty at first. With
    ``fresh`` none of its directories is there, as after an installation. ``transport`` are
    limits that are not as delivered. ``prefix``: a program that executes the one after it.
    A key of the configuration that is None is left out.
    """
    # Not pytest's tmp_path: its parents are 0700, and the server runs as another user.
    directory = new_directory("server")
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)
        (directory / "certs").mkdir(mode=0o755)
        pki = make_pki(directory / "certs")
        (directory / "policy.toml").write_text(policy.replace("@dir", str(directory)))
        if IS_ROOT:
            os.chown(pki.server.key, SERVER_UID, SERVER_UID)
        if not fresh:
            (directory / "work").mkdir(mode=0o711)
            (directory / "state").mkdir(mode=0o700)
            if IS_ROOT:
                os.chown(directory / "state", SERVER_UID, SERVER_UID)
        port = stack.enter_context(reserved_port())
        parent = new_group("server")
        settings: dict[str, str | float | int | None] = {
            "listen": f"127.0.0.1:{port}",
            "state_dir": str(directory / "state"),
            "run_dir": str(directory / "run"),
            "work_root": str(directory / "work"),
            "policy": str(directory / "policy.toml"),
            "cgroup_parent": parent,
            "orphan_timeout_s": patient(10),
            "drain_s": 2.0,
            **({"server_user": str(SERVER_UID), "job_uids": job_uids()} if IS_ROOT else {}),
            **config,
        }
        lines = [
            f"{key} = {json.dumps(value)}" for key, value in settings.items() if value is not None
        ]
        files: dict[str, str | bool] = {
            "certificate": str(pki.server.certificate),
            "key": str(pki.server.key),
            "client_ca": str(pki.ca),
            **({"crl": str(pki.write_crl())} if crl else {}),
            **(tls(directory / "certs") if tls is not None else {}),
        }
        for name, table in (("tls", files), ("transport", transport or {})):
            lines += [
                f"[{name}]",
                *(f"{key} = {json.dumps(value)}" for key, value in table.items()),
            ]
        config_file = directory / "penstockd.toml"
        config_file.write_text("\n".join(lines) + "\n")
        server = RunningServer(directory, port, pki, parent, [])
        with _penstockd(server, prefix):
            yield server


@contextlib.contextmanager
def running_again(server: RunningServer) -> Iterator[None]:
    """The next penstockd on the directory of one that has ended; ``server`` is it from now on."""
    assert server.process.poll() is not None
    with _penstockd(server, ()):
        yield


@contextlib.contextmanager
def _penstockd(server: RunningServer, prefix: Sequence[str]) -> Iterator[None]:
    config_file = server.directory / "penstockd.toml"
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "penstock.penstockd", "--config", str(config_file)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    server.process = process
    drainer = threading.Thread(target=_collect, args=(process, server.log_lines))
    drainer.start()
    try:
        _wait_listening(server)
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError("penstockd did not end:\n" + "".join(server.log_lines)) from None
        finally:
            drainer.join(10)
            if process.stderr:
                process.stderr.close()
    if server.process is process:  # else the one that followed it has looked
        assert server.groups() == [], "groups were left behind"
        if process.returncode == 0 and (server.directory / "work").is_dir():
            left = list((server.directory / "work").iterdir())
            assert left == [], "directories of jobs were left behind"


def _collect(process: subprocess.Popen[bytes], lines: list[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line.decode(errors="replace"))


def _wait_listening(server: RunningServer) -> None:
    """Until a server has accepted. That one connects says nothing: penstockd has the port before it
    has a server."""
    deadline = time.monotonic() + START_TIMEOUT_S
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    pair = server.pki.clients[CLIENTS[0]]
    context.load_cert_chain(pair.certificate, pair.key)
    while (left_s := deadline - time.monotonic()) > 0:
        if server.process.poll() is not None:
            break
        # One that waits in the port's queue until it is accepted, not many that have given up.
        where = ("127.0.0.1", server.port)
        with contextlib.suppress(OSError), socket.create_connection(where, left_s) as raw:
            context.wrap_socket(raw).close()
            return
        time.sleep(0.05)  # there is no event to wait for before the port exists
    raise AssertionError("penstockd does not serve:\n" + "".join(server.log_lines))
