"""A real supervisor without its server, as root or as an ordinary user, for tests."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from supervisor_peer import PATIENCE_S, Peer
from this_run import job_uids, new_directory, new_group

import penstock.supervisor
from penstock.supervisor.job.standard_pipes import F_SETPIPE_SZ, PIPE_BYTES

SERVER_UID = 65530
JOB_UID = 65531
IS_ROOT = os.geteuid() == 0
# Of a test that is the same for both: params of a fixture, or values of ``root``.
MODES = [pytest.param(True, id="root", marks=pytest.mark.root), pytest.param(False, id="user")]
# Of files with dozens of tests that hardly differ: where root runs them, --all has the other mode.
MODE_AND_SLOW_MODE = [
    MODES[0],
    pytest.param(False, id="user", marks=[pytest.mark.slow] * IS_ROOT),
]
SUPERVISOR = Path(penstock.supervisor.__file__).parent

CLASSES = """
[classes.free]
needs = { all = "best_effort" }
output = "unlimited"

[classes.small]
cpu = "10%"
memory = "100MB"
disk = "10MB/s"
processes = 64
needs = { all = "best_effort" }
"""


def command(name: str, path: str, *, root: bool, extra: str = "") -> str:
    """One command of a policy, as the job's user where there is root."""
    user = f'user = "{JOB_UID}"\n' if root else ""
    text = f'[commands.{name}]\npath = "{path}"\n{user}'
    return text + ("" if "class =" in extra else 'class = "free"\n') + extra + "\n"


def shell(name: str, script: str, *, root: bool, extra: str = "") -> str:
    """A command that runs this script."""
    return command(name, "/bin/sh", root=root, extra=f"fixed = ['-c', '''{script}''']\n{extra}")


@dataclass
class Supervisor:
    """A running one."""

    process: subprocess.Popen[bytes]
    directory: Path
    root: bool
    cgroup_parent: str
    uid: int
    parent_end: int = -1
    expected_exit: int = 0
    log_fd: int = -1
    _log: bytes = field(default=b"", repr=False)

    @property
    def socket_path(self) -> Path:
        return self.directory / "run" / "supervisor.sock"

    @property
    def log(self) -> str:
        """What it has said on standard error. Not a file: that is written by a child of its own,
        a moment later (log_file.py)."""
        with contextlib.suppress(BlockingIOError):
            while self.log_fd >= 0 and (data := os.read(self.log_fd, 1 << 16)):
                self._log += data
        return self._log.decode()

    def close_log(self) -> None:
        """``log`` is what it has said until now."""
        assert self.log is not None
        os.close(self.log_fd)
        self.log_fd = -1

    def connect(self) -> Peer:
        """A connection made as the server's user."""
        if self.uid == os.geteuid():
            return Peer(self.socket_path)
        # SO_PEERCRED is fixed at connect, so root can connect as another user and come back.
        os.setegid(self.uid)
        os.seteuid(self.uid)
        try:
            return Peer(self.socket_path)
        finally:
            os.seteuid(0)
            os.setegid(0)

    def groups(self) -> list[Path]:
        """Every group below the own parent, in every hierarchy."""
        found = []
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split()
            if fields[fields.index("-") + 1] in ("cgroup", "cgroup2"):
                parent = Path(fields[4] + self.cgroup_parent)
                if parent.is_dir():
                    found += [path for path in (parent, *parent.rglob("*")) if path.is_dir()]
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def running_supervisor(
    commands: str,
    *,
    root: bool = IS_ROOT,
    clients: str = "",
    arguments: Sequence[str] = ("--no-server",),
    program: Sequence[str] | None = None,
    **config: str | float,
) -> Iterator[Supervisor]:
    """A supervisor as root, or as an ordinary user; afterwards nothing of it may be left.

    ``commands`` is the policy but for its classes. ``program`` replaces what is run.
    """
    # Not pytest's tmp_path, whose parents are 0700: other users are to get there.
    directory = new_directory("supervisor")
    uid = os.geteuid() if not IS_ROOT else SERVER_UID
    process = None
    try:
        parent = new_group("supervisor")
        settings: dict[str, str | float] = {
            "listen": "127.0.0.1:0",
            "state_dir": str(directory / "state"),
            "run_dir": str(directory / "run"),
            "work_root": str(directory / "work"),
            "policy": str(directory / "policy.toml"),
            "cgroup_parent": parent,
            "drain_s": 2.0,
            **({"server_user": str(SERVER_UID), "job_uids": job_uids()} if root else {}),
            **config,
        }
        (directory / "policy.toml").write_text(CLASSES + commands + clients)
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
        tls = '[tls]\ncertificate = "/c"\nkey = "/k"\nclient_ca = "/a"\n'
        (directory / "penstockd.toml").write_text("".join(lines) + tls)
        if IS_ROOT and not root:
            for path in (directory, *directory.iterdir()):
                os.chown(path, uid, uid)
        log_read, log_write = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(log_read, F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(log_read, False)
        ready_read, ready_write = os.pipe()
        parent_read, parent_write = os.pipe()
        as_user = {"user": uid, "group": uid, "extra_groups": []} if IS_ROOT and not root else {}
        command_line = [
            *(program or [sys.executable, "-I", "-S", "-E", str(SUPERVISOR)]),
            *("--config", str(directory / "penstockd.toml"), "--ready-fd", str(ready_write)),
            *("--parent-fd", str(parent_read), *arguments),
        ]
        process = subprocess.Popen(
            command_line,
            stdin=subprocess.DEVNULL,
            stderr=log_write,
            pass_fds=(ready_write, parent_read),
            **as_user,  # type: ignore[call-overload]
        )
        os.close(log_write)
        os.close(ready_write)
        os.close(parent_read)
        supervisor = Supervisor(process, directory, root, parent, uid, parent_write, 0, log_read)
        try:
            assert os.read(ready_read, 1) == b"R", supervisor.log
            yield supervisor
        finally:
            os.close(ready_read)
            try:
                status = supervisor.stop()
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"it did not end:\n{supervisor.log}") from None
            finally:
                with contextlib.suppress(OSError):
                    os.close(supervisor.parent_end)
                supervisor.close_log()
        assert status == supervisor.expected_exit, supervisor.log
        assert "Traceback" not in supervisor.log, supervisor.log
        if status >= 0:
            assert supervisor.groups() == []
            assert not supervisor.socket_path.exists()
            assert list(Path(str(settings["work_root"])).iterdir()) == []
    finally:
        shutil.rmtree(directory)


def run_again(
    supervisor: Supervisor, config: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """A second one, which must not come up."""
    uid = supervisor.uid if IS_ROOT and not supervisor.root else None
    return subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-E", str(SUPERVISOR), "--no-server", "--config"),
            str(config or supervisor.directory / "penstockd.toml"),
        ],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
    )
