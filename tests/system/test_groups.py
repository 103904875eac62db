"""Groups on the real kernel, of the host's kind; hybrid ones also as pure v1, less the v2 mount."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from inside import directories, fork_inside
from kinds import host_kinds, mountinfo
from this_run import group as group_of

from penstock.policy.limit_classes import LIMIT_NAMES, LimitClass, ResourceLimits
from penstock.supervisor.cgroups import (
    ClientTotals,
    Group,
    GroupError,
    Hierarchy,
    Swept,
    block_device,
    detect,
    group_name,
    signal_members,
)
from penstock.supervisor.cgroups.group_files import remove_tree

pytestmark = pytest.mark.root
NAME = "0123456789abcdef" * 2
LIMITS = ResourceLimits(0.1, 100_000_000, 10_000_000, 20_000_000, 64)


@pytest.fixture(params=host_kinds())
def hierarchy(request: pytest.FixtureRequest) -> Iterator[Hierarchy]:
    found = detect(group_of("groups"), mountinfo(request.param))
    assert found is not None
    assert found.kind == request.param
    found.sweep()
    yield found
    assert found.sweep() == Swept()
    found.remove_base()


def device() -> str | None:
    return block_device("/var/tmp")


def tree_inside(group: Group) -> int:
    """A process born in the group, with a daemon of its own session that ignores TERM."""
    ready_read, ready_write = os.pipe()
    pid = fork_inside(group)
    if pid == 0:
        try:
            if os.fork() == 0:
                os.setsid()
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.write(ready_write, b"r")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(ready_write)
    got = b""
    while len(got) < 2:
        got += os.read(ready_read, 2)
    os.close(ready_read)
    return pid


def nested(group: Group) -> int:
    """A process in groups that somebody has made below the job's, two levels down."""
    below = [directory / "made" / "by-hand" for directory in directories(group)]
    for directory in below:
        directory.mkdir(parents=True)
    ready_read, ready_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for directory in below:
                (directory / "cgroup.procs").write_text("0")
            os.write(ready_write, b"r")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(ready_write)
    assert os.read(ready_read, 1) == b"r"
    os.close(ready_read)
    return pid


def wait_empty(group: Group) -> None:
    """By the notification where there is one; killing again where not, as the supervisor does."""
    deadline = time.monotonic() + 10
    notify_fd = group.notify_fd()
    with select.epoll() as epoll:
        if notify_fd is not None:
            epoll.register(notify_fd, select.EPOLLPRI)
        while group.populated():
            assert time.monotonic() < deadline, group.pids()
            if notify_fd is None:
                group.kill()
            epoll.poll(1 if notify_fd is not None else 0.005)


def remove(group: Group) -> None:
    deadline = time.monotonic() + 5
    while not group.remove():  # v1 is busy for a moment after the last process
        assert time.monotonic() < deadline


def test_limits_are_read_back(hierarchy: Hierarchy) -> None:
    """Memory rounded to a page, disk partial on v1; a class that needs more is unmet."""
    disk = "enforced" if hierarchy.kind == "v2" else "partial"
    group = hierarchy.create(NAME, LIMITS, device())
    found = {entry.limit: (entry.state, entry.actual) for entry in group.entries}
    assert found["cpu"] == ("enforced", "10000us/100000us")
    assert found["memory"] == ("enforced", "99999744")
    assert found["disk_read"] == (disk, "10000000")
    assert found["disk_write"] == (disk, "20000000")
    assert found["processes"] == ("enforced", "64")
    strict = LimitClass("small", LIMITS, dict.fromkeys(LIMIT_NAMES, "required"))
    unmet = {entry.limit for entry in strict.unmet(group.entries)}
    assert unmet == (set() if disk == "enforced" else {"disk_read", "disk_write"})
    assert group.remove()


def test_a_tree_is_killed_and_counted(hierarchy: Hierarchy) -> None:
    """Two processes, two sessions: both are inside, both die, nothing is left."""
    group = hierarchy.create(NAME, LIMITS, device())
    pid = tree_inside(group)
    assert len(group.pids()) == 2
    assert group.populated()
    assert group.kill() == 2
    wait_empty(group)
    os.waitpid(pid, 0)
    counters = group.counters()
    assert counters["cpu_total_s"] > 0
    assert counters["memory_peak_bytes"] > 0
    deadline = time.monotonic() + 5
    while not group.remove():  # v1 is busy for a moment after the last process
        assert time.monotonic() < deadline


def test_a_signal_reaches_members_alone(hierarchy: Hierarchy) -> None:
    """Both processes of the group, and not one that was listed and has left it, or was never in
    it: as if its pid had been reused."""
    group = hierarchy.create(NAME, LIMITS, device())
    pid = tree_inside(group)
    stranger = os.fork()
    if stranger == 0:
        signal.pause()
        os._exit(0)
    try:
        lists = iter([[*group.pids(), stranger], group.pids()])
        assert signal_members(lambda: next(lists), signal.SIGTERM) == 2
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        assert os.waitpid(stranger, os.WNOHANG) == (0, 0)
        assert signal_members(lambda: [pid], signal.SIGTERM) == 0  # reaped
    finally:
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)
        group.kill()
        wait_empty(group)
        remove(group)


def test_a_group_stands_still_and_can_be_killed(hierarchy: Hierarchy) -> None:
    """Frozen, thawed, frozen again and dead."""
    group = hierarchy.create(NAME, LIMITS, device())
    pid = tree_inside(group)
    for frozen in (True, False, True):
        group.freeze(frozen)
        deadline = time.monotonic() + 10
        while group.frozen() != frozen:
            assert time.monotonic() < deadline
    group.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    wait_empty(group)
    remove(group)


def test_a_sweep_kills_what_an_earlier_life_left(hierarchy: Hierarchy) -> None:
    """Members die, directories go, however deep; which jobs they were and how many comes back."""
    alice = ClientTotals(group_name("alice"), ResourceLimits())
    group = hierarchy.create(NAME, LIMITS, device(), alice)
    other = hierarchy.create(NAME[::-1], LIMITS, device(), alice)
    idle = hierarchy.create("0" * 32, LIMITS, None)
    pid = tree_inside(group)
    deep = nested(group)
    assert deep in group.pids()
    swept = hierarchy.sweep()
    assert swept == Swept(tuple(sorted(["0" * 32, NAME, NAME[::-1]])), 3)
    for dead in (pid, deep):
        _, status = os.waitpid(dead, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    for swept_group in (group, other, idle):
        if (fd := swept_group.notify_fd()) is not None:
            os.close(fd)


def test_a_sweep_ends_a_job_that_was_paused(hierarchy: Hierarchy) -> None:
    """On v1 a frozen process dies only once it runs, and its own group is what is frozen."""
    group = hierarchy.create(NAME, LIMITS, device(), ClientTotals(group_name("alice"), LIMITS))
    pid = tree_inside(group)
    group.freeze(True)
    while not group.frozen():
        time.sleep(0.001)
    assert hierarchy.sweep() == Swept((NAME,), 2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    if (fd := group.notify_fd()) is not None:
        os.close(fd)


@pytest.mark.parametrize(
    "name", ["sshd.service", "client-", "client-Alice", f"x{NAME}", f"id-{NAME}0", NAME.upper()]
)
def test_a_sweep_of_a_group_with_others_services_ends_nobody(
    hierarchy: Hierarchy, name: str
) -> None:
    """As with a cgroup_parent of /system.slice: refused before anything of it is touched."""
    ours = hierarchy.create(NAME, LIMITS, None)
    other = Path(hierarchy.base_directory) / name
    other.mkdir()
    sleeper = subprocess.Popen(["sleep", "1000"])
    try:
        (other / "cgroup.procs").write_text(str(sleeper.pid))
        with pytest.raises(GroupError, match="name a group that is penstock's alone"):
            hierarchy.sweep()
        assert sleeper.poll() is None
        assert ours.remove()
    finally:
        sleeper.kill()
        sleeper.wait()
        deadline = time.monotonic() + 5
        while not remove_tree(str(other)):  # v1 is busy for a moment after the last process
            assert time.monotonic() < deadline


def test_a_group_that_cannot_be_made_leaves_nothing(hierarchy: Hierarchy) -> None:
    """A limit that the kernel refuses names its file; the same name can be used afterwards."""
    with pytest.raises(GroupError, match=r"blkio|io\.max"):
        hierarchy.create(NAME, LIMITS, "999:999")
    with pytest.raises(GroupError, match="not a job id"):
        hierarchy.create("../escape", LIMITS, device())
    assert hierarchy.create(NAME, LIMITS, device()).remove()
