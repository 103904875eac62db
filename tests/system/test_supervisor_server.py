"""The server as the supervisor's child: its rights, and what happens when it dies."""

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_peer import PATIENCE_S, wait_dead
from supervisor_process import IS_ROOT, MODES, SUPERVISOR, Supervisor, command, running_supervisor
from this_run import new_directory


@pytest.fixture(params=MODES)
def root(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


# A server that greets, says on standard error that it did, and waits to be ended.
SERVER = """
import json, os, socket, sys
peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
peer.connect(sys.argv[1])
peer.send(json.dumps({"type": "HELLO", "version": 1, "pid": os.getpid()}).encode())
peer.recv(100000)
fds = sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1]  # but the listing's own
ids = os.getresuid(), os.getresgid(), os.getgroups()
lines = open("/proc/self/status").read().splitlines()
status = {line.split(":")[0]: line.split(":")[1].strip() for line in lines}
told = {"pid": os.getpid(), "ids": ids, "fds": fds, "session": os.getsid(0)}
told["env"] = dict(os.environ)
told["listens"] = socket.socket(fileno=3).getsockname()[1]
told |= {key: status[key] for key in ("CapPrm", "CapEff", "CapBnd", "NoNewPrivs")}
report = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
report.connect(sys.argv[2])
report.send(json.dumps(told).encode())
peer.recv(100000)
"""
# The whole supervisor, but for which server it starts.
PROGRAM = """
import sys
sys.path.insert(0, {source!r})
from penstock.supervisor import command_line, daemon
daemon.server_command = lambda *_: [sys.executable, "-I", "-c", {server!r}, *{arguments!r}]
sys.exit(command_line.main(sys.argv[1:]))
"""


class Reports:
    """Where servers report that they were welcomed."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "reports"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.path))
        self.path.chmod(0o666)
        self._listener.listen()
        self._listener.settimeout(PATIENCE_S)

    def next(self) -> dict[str, object]:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            told: dict[str, object] = json.loads(connection.recv(100_000))
            return told

    def close(self) -> None:
        self._listener.close()
        self.path.unlink()


@pytest.fixture
def reports() -> Iterator[Reports]:
    directory = new_directory("reports")
    reports = Reports(directory)
    yield reports
    reports.close()
    directory.rmdir()


def program(reports: Reports, run_dir: Path) -> list[str]:
    arguments = [str(run_dir / "supervisor.sock"), str(reports.path)]
    source = str(SUPERVISOR.parent.parent)
    text = PROGRAM.format(source=source, server=SERVER, arguments=arguments)
    return [sys.executable, "-c", text]


def test_the_server_is_unprivileged_and_restarted(root: bool, reports: Reports) -> None:
    """It runs as its user with 0 to 2 and the listening socket alone, and is told that this one is
    meant for it; when it dies, the next one is welcomed, and has it."""
    # In the sticky directory that a service user would have it in, too.
    place = new_directory("run")
    place.chmod(0o1777)
    run_dir = place / "run"
    text = command("true", "/bin/true", root=root)
    try:
        with running_supervisor(
            text, root=root, arguments=(), program=program(reports, run_dir), run_dir=str(run_dir)
        ) as supervisor:
            first = reports.next()
            uid = supervisor.uid
            assert first["ids"] == [[uid] * 3, [uid] * 3, []] or not IS_ROOT
            assert first["fds"] == [0, 1, 2, 3, 4]  # 4 is the connection
            assert first["session"] == first["pid"]
            assert first["NoNewPrivs"] == "1"
            assert int(str(first["CapPrm"]), 16) == int(str(first["CapEff"]), 16) == 0
            if root:
                assert int(str(first["CapBnd"]), 16) == 0
            listening = {"LISTEN_FDS": "1", "LISTEN_PID": str(first["pid"])}
            assert first["env"] == {"PATH": os.defpath, "LANG": "C.UTF-8", **listening}
            # A second server started by hand while the first lives: refused, nothing read.
            with connect(supervisor, run_dir) as stranger:
                assert stranger.recv(1) == b""
            os.kill(int(str(first["pid"])), signal.SIGKILL)
            second = reports.next()
            assert second["pid"] != first["pid"]
            assert second["listens"] == first["listens"]
            assert "was killed by signal 9; starting it again in 0.1 s" in supervisor.log
            supervisor.process.send_signal(signal.SIGTERM)
            assert wait_dead(int(str(second["pid"])))
    finally:
        if run_dir.exists():
            (run_dir / "supervisor.lock").unlink(missing_ok=True)
            run_dir.rmdir()
        place.rmdir()


def connect(supervisor: Supervisor, run_dir: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(PATIENCE_S)
    if IS_ROOT:
        os.setegid(supervisor.uid)
        os.seteuid(supervisor.uid)
    try:
        connection.connect(str(run_dir / "supervisor.sock"))
    finally:
        if IS_ROOT:
            os.seteuid(0)
            os.setegid(0)
    return connection
