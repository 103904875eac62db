"""A real supervisor without its server, and a small server's end of its socket, for tests."""

import array
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import penstock.supervisor
from penstock.supervisor import protocol

SERVER_UID = 61190
JOB_UID = 61191
IS_ROOT = os.geteuid() == 0
SUPERVISOR = Path(penstock.supervisor.__file__).parent
# Of any single wait; what is waited for takes milliseconds.
PATIENCE_S = 20.0

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
class Started:
    """What STARTED said, and its pipes."""

    id: str
    pid: int
    message: dict[str, Any]
    fds: dict[str, int]

    def read(self, name: str = "stdout", *, until: bytes | None = None) -> bytes:
        """What the job printed: to the end of file, or until it has printed this."""
        data = b""
        deadline = time.monotonic() + PATIENCE_S
        while until is None or until not in data:
            ready, _, _ = select.select([self.fds[name]], [], [], deadline - time.monotonic())
            assert ready, f"{name} of the job: nothing more after {data!r}"
            part = os.read(self.fds[name], 65536)
            if not part:
                break
            data += part
        return data


class Peer:
    """A connection to a supervisor. Every wait is bounded; ``close`` frees all descriptors."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(path))
        self.policy = b""
        self._fds: list[int] = []
        self._early: list[dict[str, Any]] = []

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self.socket.close()
        while self._fds:
            os.close(self._fds.pop())

    def send(self, kind: str, **fields: Any) -> None:
        """One message, well-formed or not."""
        self.socket.send(json.dumps({"type": kind, **fields}).encode())

    def receive(self) -> dict[str, Any] | None:
        """The next message, with its descriptors as ``_fds``; None at the end."""
        data, ancillary, _, _ = self.socket.recvmsg(protocol.MAX_MESSAGE_BYTES, 2048)
        received = array.array("i")
        for _, _, content in ancillary:
            received.frombytes(content)
        self._fds += received
        if not data:
            return None
        message = protocol.decode(data, protocol.FROM_SUPERVISOR)
        message["_fds"] = list(received)
        return message

    def wait(self, kind: str | Sequence[str], job_id: str | None = None) -> dict[str, Any]:
        """The next message of a kind (and job); others are kept for later waits."""
        kinds = (kind,) if isinstance(kind, str) else tuple(kind)

        def fits(message: dict[str, Any]) -> bool:
            return message["type"] in kinds and job_id in (None, message.get("id"))

        for index, message in enumerate(self._early):
            if fits(message):
                return self._early.pop(index)
        while True:
            message_or_end = self.receive()
            assert message_or_end is not None, f"the connection ended before {kind}"
            if fits(message_or_end):
                return message_or_end
            self._early.append(message_or_end)

    def is_ended(self) -> bool:
        """Waits for the end of the connection; False if a message comes instead."""
        try:
            return self.receive() is None
        except ConnectionResetError:
            return True

    def hello(self) -> dict[str, Any]:
        """Says HELLO; the WELCOME."""
        self.send("HELLO", version=protocol.VERSION, pid=os.getpid())
        welcome = self.wait("WELCOME")
        self.policy = os.pread(welcome["_fds"][0], 1 << 20, 0)
        self.policy_hash = welcome["policy"]
        return welcome

    def request(self, command: str, *arguments: str, **fields: Any) -> str:
        """Sends a START; the job's id."""
        start: dict[str, Any] = {
            "id": uuid.uuid4().hex,
            "opaque": "",
            "policy": self.policy_hash,
            "command": command,
            "arguments": arguments,
            "env": {},
            "timeout_s": None,
            **fields,
        }
        self.send("START", **start)
        return str(start["id"])

    def start(self, command: str, *arguments: str, **fields: Any) -> Started:
        """Starts a job, which must succeed."""
        job_id = self.request(command, *arguments, **fields)
        message = self.wait(("STARTED", "REFUSED"), job_id)
        assert message["type"] == "STARTED", message
        fds = dict(zip(message["fds"], message["_fds"], strict=True))
        return Started(job_id, message["pid"], message, fds)

    def refused(self, command: str, *arguments: str, **fields: Any) -> dict[str, Any]:
        """A START that must fail: the REFUSED."""
        job_id = self.request(command, *arguments, **fields)
        message = self.wait(("STARTED", "REFUSED"), job_id)
        assert message["type"] == "REFUSED", message
        return message

    def end(self, job: Started) -> tuple[dict[str, Any], dict[str, Any]]:
        """EXITED and EMPTIED, in this order, then released."""
        exited = self.wait(("EXITED", "EMPTIED"), job.id)
        assert exited["type"] == "EXITED"
        emptied = self.wait("EMPTIED", job.id)
        self.send("RELEASE", id=job.id)
        return exited, emptied


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
    _log: Path = field(default_factory=Path)

    @property
    def socket_path(self) -> Path:
        return self.directory / "run" / "supervisor.sock"

    @property
    def log(self) -> str:
        """What it has said on standard error."""
        return self._log.read_text()

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


def wait_dead(pid: int) -> bool:
    """Waits until a process, not our child, has ended; a zombie has."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], PATIENCE_S)[0])
    finally:
        os.close(fd)


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
    directory = Path(tempfile.mkdtemp(prefix="penstock-test-", dir="/var/tmp"))
    uid = os.geteuid() if not IS_ROOT else SERVER_UID
    process = None
    try:
        directory.chmod(0o755)
        parent = f"/penstock-test-{uuid.uuid4().hex[:12]}"
        settings: dict[str, str | float] = {
            "state_dir": str(directory / "state"),
            "run_dir": str(directory / "run"),
            "work_root": str(directory / "work"),
            "policy": str(directory / "policy.toml"),
            "cgroup_parent": parent,
            "drain_s": 2.0,
            **({"server_user": str(SERVER_UID)} if root else {}),
            **config,
        }
        (directory / "policy.toml").write_text(CLASSES + commands + clients)
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
        tls = '[tls]\ncertificate = "/c"\nkey = "/k"\nclient_ca = "/a"\n'
        (directory / "penstockd.toml").write_text("".join(lines) + tls)
        if IS_ROOT and not root:
            for path in (directory, *directory.iterdir()):
                os.chown(path, uid, uid)
        log = directory.with_suffix(".log")
        ready_read, ready_write = os.pipe()
        parent_read, parent_write = os.pipe()
        as_user = {"user": uid, "group": uid, "extra_groups": []} if IS_ROOT and not root else {}
        command_line = [
            *(program or [sys.executable, "-I", "-S", "-E", str(SUPERVISOR)]),
            *("--config", str(directory / "penstockd.toml"), "--ready-fd", str(ready_write)),
            *("--parent-fd", str(parent_read), *arguments),
        ]
        with open(log, "wb") as log_file:
            process = subprocess.Popen(
                command_line,
                stdin=subprocess.DEVNULL,
                stderr=log_file,
                pass_fds=(ready_write, parent_read),
                **as_user,  # type: ignore[call-overload]
            )
        os.close(ready_write)
        os.close(parent_read)
        supervisor = Supervisor(process, directory, root, parent, uid, parent_write, 0, log)
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
        assert status == supervisor.expected_exit, supervisor.log
        assert "Traceback" not in supervisor.log, supervisor.log
        if status >= 0:
            assert supervisor.groups() == []
            assert not supervisor.socket_path.exists()
            assert list((directory / "work").iterdir()) == []
    finally:
        shutil.rmtree(directory)
        directory.with_suffix(".log").unlink(missing_ok=True)
