"""A job in a PID namespace of its own: what it sees, and that outside all is as without one."""

import errno
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_peer import PATIENCE_S, Peer, wait_dead
from supervisor_process import Supervisor, command, running_supervisor, shell
from this_run import visible_directory

from penstock.supervisor.isolation import Isolation, fork_both
from penstock.supervisor.job import spawn as spawning
from penstock.supervisor.job.spawn import Plan, decode_report
from penstock.supervisor.kernel.clone3 import CgroupEntrance

pytestmark = pytest.mark.root

OWN = "pid_namespace = true\n"
# In a session of its own, ignoring TERM, and its parent has ended.
DAEMON = "(setsid sh -c 'trap \"\" TERM; echo daemon; exec sleep 1000' &)"


@pytest.fixture
def gone() -> Iterator[Path]:
    """A directory that a test removes."""
    path = visible_directory("gone")
    yield path
    if path.exists():
        path.rmdir()


@pytest.fixture
def running(gone: Path) -> Iterator[tuple[Supervisor, Peer]]:
    text = (
        shell("look", "echo $$ $PPID; cat /proc/1/environ; ls /proc | grep -c ^[0-9]; kill -9 -1",
              root=True, extra=OWN)
        + shell("exit", "echo ready; exit 7", root=True, extra=OWN)
        + shell("wait", f"{DAEMON}; exec sleep 1000", root=True, extra=OWN)
        + shell("trap", "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.02; done",
                root=True, extra=OWN)
        + shell("daemon", f"{DAEMON}; exit 0", root=True, extra=OWN)
        + shell("reap", "for i in 1 2 3; do (sh -c 'exit 0' &); done; sleep 0.1; "
                "grep -l '^State:.Z' /proc/[0-9]*/status; echo done", root=True, extra=OWN)
        + command("mounts", "/bin/true", root=True, extra=f'{OWN}writable = ["{gone}"]\n')
        + shell("plain", "exec sleep 1000", root=True)
    )  # fmt: skip
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        peer.hello()
        yield supervisor, peer


def members(supervisor: Supervisor, job_id: str) -> set[int]:
    """Pids in a job's groups, in our numbering."""
    found: set[int] = set()
    for group in supervisor.groups():
        if group.name == job_id:
            found |= set(map(int, (group / "cgroup.procs").read_text().split()))
    return found


def test_it_sees_its_own_processes_only(running: tuple[Supervisor, Peer]) -> None:
    """It is the second of its namespace, without a parent; KILL to all is to its own."""
    _, peer = running
    other = peer.start("plain")
    job = peer.start("look")
    lines = job.read().decode().splitlines()
    assert lines[0] == "2 0"
    # A copy of the supervisor that runs as the job's user is closed to it.
    assert b"/proc/1/environ: Permission denied\n" in job.read("stderr")
    assert int(lines[1]) <= 5  # init, itself, ls and grep
    peer.end(job)
    assert select.select([other.fds["stdout"]], [], [], 0)[0] == []  # the other one lives
    peer.send("KILL", id=other.id)
    assert peer.end(other)[0]["status"] == signal.SIGKILL


def test_pid_and_status_are_the_main_processs(running: tuple[Supervisor, Peer]) -> None:
    """In the numbering outside: STARTED names it, and its exit code comes through."""
    supervisor, peer = running
    job = peer.start("wait")
    job.read(until=b"daemon")
    status = Path(f"/proc/{job.pid}/status").read_text()
    assert f"NSpid:\t{job.pid}\t2\n" in status
    assert os.readlink(f"/proc/{job.pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    assert job.pid in members(supervisor, job.id)
    states = {entry["limit"]: entry["state"] for entry in job.message["enforcement"]}
    assert states["isolation.pid"] == "enforced"
    # By a signal's own number, as sent to it directly.
    peer.send("SIGNAL", id=job.id, signal=signal.SIGTERM)
    assert peer.wait("SIGNALED", job.id)["count"] == 1
    exited, emptied = peer.end(job)
    assert os.WTERMSIG(exited["status"]) == signal.SIGTERM
    assert emptied["killed"] == 1  # the daemon, but not the init

    job = peer.start("exit")
    exited, emptied = peer.end(job)
    assert os.waitstatus_to_exitcode(exited["status"]) == 7
    assert emptied["killed"] == 0


def test_signals_are_handled(running: tuple[Supervisor, Peer]) -> None:
    """By the main process, which is no init."""
    _, peer = running
    job = peer.start("trap")
    job.read(until=b"ready")
    peer.send("SIGNAL", id=job.id, signal=signal.SIGTERM)
    assert job.read().endswith(b"told\n")
    exited, _ = peer.end(job)
    assert os.waitstatus_to_exitcode(exited["status"]) == 3


def test_nothing_is_left_of_it(running: tuple[Supervisor, Peer]) -> None:
    """Init, daemons, groups: gone when EMPTIED comes, and the supervisor has no zombies."""
    supervisor, peer = running
    jobs = [peer.start("daemon"), peer.start("wait")]
    jobs[1].read(until=b"daemon")
    pids = members(supervisor, jobs[1].id)
    assert len(pids) >= 3  # init, main, daemon
    peer.send("KILL", id=jobs[1].id)
    for job in jobs:
        peer.end(job)
    assert all(wait_dead(pid) for pid in pids)
    # Groups and zombies go after that, by RELEASE and SIGCHLD, of which nobody is told.
    deadline = time.monotonic() + PATIENCE_S
    # Two are the supervisor's own: its sentinel, and what watches the disk.
    while len(supervisor.children()) > 2 or any(
        group.name == jobs[1].id for group in supervisor.groups()
    ):
        assert time.monotonic() < deadline, supervisor.children()
        time.sleep(0.01)


def test_orphans_are_reaped(running: tuple[Supervisor, Peer]) -> None:
    """By init: no zombie stays inside."""
    _, peer = running
    job = peer.start("reap")
    assert job.read() == b"done\n"
    peer.end(job)


def test_a_step_that_fails_inside(running: tuple[Supervisor, Peer], gone: Path) -> None:
    """It is told as without a namespace, and init goes too."""
    supervisor, peer = running
    gone.rmdir()
    refused = peer.refused("mounts")
    assert (refused["fault"], refused["stage"]) == ("failed", "mounts")
    assert members(supervisor, refused["id"]) == set()
    assert [path for path in supervisor.groups() if path.name == refused["id"]] == []
    assert list((supervisor.directory / "work").iterdir()) == []


def test_an_init_that_cannot_be_made() -> None:
    """Out of processes after the first: it is killed, and later children are as before."""
    pids: list[int] = []

    def fork() -> int:
        if pids:
            raise BlockingIOError(errno.EAGAIN, "no more")
        return os.fork()

    with pytest.raises(BlockingIOError):
        fork_both(fork, lambda: None, pids.append)
    assert os.waitpid(pids[0], 0)[1] == signal.SIGKILL
    namespaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "pid_for_children")]
    assert namespaces[0] == namespaces[1]


def test_an_init_that_cannot_join_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main process says so and ends, and init after it."""
    inits: list[int] = []
    monkeypatch.setattr(spawning, "disown", inits.append)
    executable_fd = os.open("/bin/true", os.O_RDONLY | os.O_CLOEXEC)
    null_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    plan = Plan(
        *(
            executable_fd,
            [b"true"],
            {},
            "/",
            None,
            CgroupEntrance(None, (null_fd,)),
            null_fd,
            null_fd,
            null_fd,
        ),
        isolation=Isolation(pids=True),
    )
    pid, report_fd = spawning.spawn(plan)
    for fd in (executable_fd, null_fd):
        os.close(fd)
    assert select.select([report_fd], [], [], PATIENCE_S)[0]
    assert decode_report(os.read(report_fd, 64)) == ("pid_namespace", errno.EBADF)
    os.close(report_fd)
    # In this order: a namespace's init has ended only when all others in it were reaped.
    for child, code in ((pid, 127), (inits[0], 1)):
        assert wait_dead(child)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
