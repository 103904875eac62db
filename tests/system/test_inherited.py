"""What an administrator has given the supervisor alone: no child of it has that."""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_peer import PATIENCE_S
from supervisor_process import SUPERVISOR, command, running_supervisor
from this_run import this_run

from penstock.supervisor.isolation.seccomp import MACHINES, denied_numbers

MACHINE = MACHINES.get(os.uname().machine)
KEYCTL, ADD_KEY = (
    denied_numbers(MACHINE)[name] if MACHINE else 0 for name in ("keyctl", "add_key")
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(MACHINE is None, reason="this machine's system calls are not known"),
]

SUPERVISOR_COMMAND = [sys.executable, "-I", "-S", "-E", str(SUPERVISOR)]
CALL = """
import ctypes, json, os, resource, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def called(number, *arguments):
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return libc.syscall(ctypes.c_long(number), *words)
"""
# KEYCTL_JOIN_SESSION_KEYRING, then KEYCTL_SEARCH; -3 is KEY_SPEC_SESSION_KEYRING.
WITH_A_KEY = f"""{CALL}
assert called({KEYCTL}, 1, None) > 0
assert called({ADD_KEY}, b"user", b"penstock-test", b"secret", 6, -3) > 0
"""
SEARCH = f"{CALL}\nfound = called({KEYCTL}, 10, -3, b'user', b'penstock-test', 0) > 0\n"


def succeeds(script: str) -> bool:
    """Run by a process of its own."""
    command_line = [sys.executable, "-c", script]
    return subprocess.run(command_line, stderr=subprocess.PIPE, check=False).returncode == 0


@pytest.fixture
def keys() -> None:
    """There are some, and this process may use them."""
    if not succeeds(f"{WITH_A_KEY}\n{SEARCH}\nassert found"):
        pytest.skip("no keys on this kernel, or none for this container")


def python(name: str, script: str) -> str:
    fixed = f"fixed = ['-I', '-c', '''{script}''']\nseccomp = false\n"
    return command(name, "/usr/bin/python3", root=True, extra=fixed)


def test_no_job_reads_the_supervisors_keys(keys: None) -> None:
    """Not even one without a list of denied calls."""
    text = python("search", f"{SEARCH}\nprint(found)")
    start = f"{WITH_A_KEY}\nos.execv(sys.argv[1], sys.argv[1:])"
    program = [sys.executable, "-c", start, *SUPERVISOR_COMMAND]
    with running_supervisor(text, program=program) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("search")
        assert job.read() == b"False\n", job.read("stderr")
        peer.end(job)


@pytest.fixture
def directory() -> Iterator[Path]:
    """One where the server's user can write."""
    with tempfile.TemporaryDirectory(prefix="penstock-", dir=this_run().directory) as path:
        os.chmod(path, 0o777)
        yield Path(path)


def test_the_server_does_not_either(keys: None, directory: Path) -> None:
    """Though it is the one that faces the network."""
    told = directory / "told"
    os.mkfifo(told)
    told.chmod(0o666)
    server = f"{SEARCH}\nopen({str(told)!r}, 'w').write(str(found))"
    start = f"""{WITH_A_KEY}
sys.path.insert(0, {str(SUPERVISOR.parent.parent)!r})
from penstock.supervisor import command_line, daemon
daemon.server_command = lambda *_: [sys.executable, "-I", "-c", {server!r}]
sys.exit(command_line.main(sys.argv[1:]))
"""
    text = command("true", "/bin/true", root=True)
    reader = os.open(told, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.set_blocking(reader, True)
        with running_supervisor(text, program=[sys.executable, "-c", start], arguments=()):
            # It says so again whenever it is started again.
            assert read_some(reader) == b"False"
    finally:
        os.close(reader)


def read_some(fd: int) -> bytes:
    with select.epoll() as epoll:
        epoll.register(fd, select.EPOLLIN)
        assert epoll.poll(PATIENCE_S)
    return os.read(fd, 5)


PRIORITY = f"""{CALL}
with open("/proc/self/oom_score_adj") as file:
    score = int(file.read())
limits = [resource.getrlimit(number) for number in (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE)]
print(json.dumps([os.getpriority(os.PRIO_PROCESS, 0), score, limits]))
"""


@pytest.mark.parametrize(
    "setting",
    [
        "os.setpriority(os.PRIO_PROCESS, 0, -5)",
        'os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-900")',
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (50, 50))",
        "resource.setrlimit(resource.RLIMIT_NICE, (30, 30))",
    ],
)
def test_no_job_is_preferred(setting: str) -> None:
    """Whatever is done for the supervisor, so that it is served first and killed last."""
    if not succeeds(f"{CALL}\n{setting}"):
        pytest.skip("this process may not do that, as in a container without CAP_SYS_RESOURCE")
    program = [
        *(sys.executable, "-c", f"{CALL}\n{setting}\nos.execv(sys.argv[1], sys.argv[1:])"),
        *SUPERVISOR_COMMAND,
    ]
    text = python("tell", PRIORITY)
    with running_supervisor(text, program=program) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("tell")
        own = int(Path("/proc/self/oom_score_adj").read_text())
        usual = [max(0, os.getpriority(os.PRIO_PROCESS, 0)), max(0, own), [[0, 0], [0, 0]]]
        assert json.loads(job.read()) == usual, job.read("stderr")
        peer.end(job)


@pytest.mark.parametrize(("before", "after"), [("-900\n", "0"), ("300\n", "300\n"), ("0\n", "0\n")])
def test_a_score_is_only_raised(directory: Path, before: str, after: str) -> None:
    """On a plain file, as only CAP_SYS_RESOURCE can lower a real one."""
    score = directory / "oom_score_adj"
    score.write_text(before)
    assert succeeds(f"""
import sys
sys.path.insert(0, {str(SUPERVISOR.parent.parent)!r})
from penstock.supervisor.isolation import inherited
inherited._OOM_SCORE = {str(score)!r}
inherited.leave_priority()
""")
    assert score.read_text() == after
