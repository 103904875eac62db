"""What groups do to processes and to failures on the real kernel, of the host's kind and as v1."""

import builtins
import errno
import itertools
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import inside as members
import pytest
from inside import fork_inside
from kinds import host_kinds, mountinfo
from leaks import job_groups
from patience import slowness
from this_run import group as group_of

from penstock.policy.limit_classes import ResourceLimits
from penstock.supervisor.cgroups import (
    ClientTotals,
    Group,
    GroupError,
    Hierarchy,
    Swept,
    block_device,
    detect,
    group_name,
)

pytestmark = pytest.mark.root
NAME = "fedcba9876543210" * 2
LIMITS = ResourceLimits(0.5, 50_000_000, 10_000_000, 10_000_000, 16)
CGROUPS = "/sys/fs/cgroup/"


@pytest.fixture(params=host_kinds())
def hierarchy(request: pytest.FixtureRequest) -> Iterator[Hierarchy]:
    found = detect(group_of("kernel"), mountinfo(request.param))
    assert found is not None
    assert found.kind == request.param
    found.sweep()
    yield found
    assert found.sweep() == Swept()
    found.remove_base()


def run_inside(group: Group, work: Callable[[], None]) -> int:
    """The pid of a process that enters the group and then works."""
    pid = fork_inside(group)
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def end(group: Group) -> None:
    """Kills until nobody is left, and removes."""
    deadline = time.monotonic() + 10
    while group.populated() or not group.remove():
        assert time.monotonic() < deadline, group.pids()
        group.kill()
        select.select([], [], [], 0.002)


def directories() -> list[str]:
    """Jobs' groups below the test's own parent, wherever; clients' are kept."""
    own = f"{group_of('kernel')}/"
    return sorted(
        path for path in job_groups() if own in path and len(Path(path).name) == len(NAME)
    )


def test_a_share_below_one_percent_is_held_as_asked(hierarchy: Hierarchy) -> None:
    """The kernel's least quota is 1 ms: the period grows, the share does not."""
    group = hierarchy.create(NAME, ResourceLimits(cpu_cores=0.005), None)
    cpu = next(entry for entry in group.entries if entry.limit == "cpu")
    assert (cpu.state, cpu.actual) == ("enforced", "5000us/1000000us")
    assert group.remove()
    with pytest.raises(GroupError, match=r"below 0\.001 cores"):
        hierarchy.create(NAME, ResourceLimits(cpu_cores=0.0005), None)
    assert directories() == []


def test_out_of_memory_is_counted(hierarchy: Hierarchy) -> None:
    """Who takes more than the limit is killed; the count and the peak tell it."""
    group = hierarchy.create(NAME, LIMITS, block_device("/var/tmp"))
    pid = run_inside(group, lambda: print(len(bytearray(200_000_000))))
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    counters = group.counters()
    # v2 counts the first one of a group twice: as the victim, and as one of the group.
    assert counters["oom_kills"] in ((1, 2) if hierarchy.kind == "v2" else (1,))
    assert 40_000_000 < counters["memory_peak_bytes"] <= 50_000_000
    end(group)


FORK_BOMB = """
import errno, os, signal, sys
while True:
    try:
        os.fork()
    except OSError as error:
        os.write(int(sys.argv[1]), b"f" if error.errno == errno.EAGAIN else b"?")
        signal.pause()
"""


def test_a_fork_bomb_is_contained_and_dies(hierarchy: Hierarchy) -> None:
    """Never more processes than the limit; all of them gone after the kill."""
    group = hierarchy.create(NAME, LIMITS, None)
    read_end, write_end = os.pipe()

    def bomb() -> None:
        # A program of its own: page tables of this one, sixteen times, are more than the limit of
        # memory, and the kernel would spend the share of CPU on finding room for them.
        os.set_inheritable(write_end, True)
        argv = [sys.executable, "-I", "-S", "-c", FORK_BOMB, str(write_end)]
        os.execv(sys.executable, argv)

    pid = run_inside(group, bomb)
    os.close(write_end)
    assert os.read(read_end, 1) == b"f"  # full
    assert 1 < len(group.pids()) <= 16
    assert group.kill() > 1
    end(group)
    os.waitpid(pid, 0)
    while os.read(read_end, 64):  # to its end: nobody holds the other one
        pass
    os.close(read_end)


@pytest.mark.parametrize("way", ["kill", pytest.param("sweep", marks=pytest.mark.slow)])
def test_who_is_killed_dies_without_a_quota(hierarchy: Hierarchy, way: str) -> None:
    """Each gives back 256 MB, several ms of CPU, where all four have 1 ms of it in every second."""
    group = hierarchy.create(NAME, ResourceLimits(cpu_cores=2.0), None)
    read_end, write_end = os.pipe()

    def work() -> None:
        for _ in range(2):
            os.fork()
        memory = bytearray(1 << 28)
        memory[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * (len(memory) // os.sysconf("SC_PAGE_SIZE"))
        os.write(write_end, b"r")
        while True:
            pass

    pid = run_inside(group, work)
    os.close(write_end)
    for _ in range(4):
        assert os.read(read_end, 1) == b"r"
    os.close(read_end)
    hold_to_a_thousandth(group)
    before = group.counters()["throttled_periods"]
    while group.counters()["throttled_periods"] == before:  # nobody runs until the next period
        select.select([], [], [], 0.01)
    begun = time.monotonic()
    if way == "kill":
        assert group.kill() == 4
        end(group)
    else:
        assert hierarchy.sweep() == Swept((NAME,), 4)
        if (fd := group.notify_fd()) is not None:
            os.close(fd)
    assert time.monotonic() - begun < 3 * slowness()
    os.waitpid(pid, 0)


def hold_to_a_thousandth(group: Group) -> None:
    """Of one core, from now on."""
    for directory in members.directories(group):
        if (quota := directory / "cpu.max").exists():
            quota.write_text("1000 1000000")
        if (quota := directory / "cpu.cfs_quota_us").exists():
            (directory / "cpu.cfs_period_us").write_text("1000000")
            quota.write_text("1000")


def test_direct_writes_are_counted_without_a_limit(hierarchy: Hierarchy, tmp_path: Path) -> None:
    """v1 counts only while there is a rule, so there is one for a job without a disk limit."""
    device = block_device(str(tmp_path))
    if device is None:
        pytest.skip("the temporary directory is on no disk")
    group = hierarchy.create(NAME, ResourceLimits(), device)

    def work() -> None:
        fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
        os.write(fd, bytes(2**20))
        os.fsync(fd)

    os.waitpid(run_inside(group, work), 0)
    end_counters = group.counters()
    assert end_counters["write_bytes"] >= 2**20
    assert end_counters["write_ops"] >= 1
    end(group)


def test_a_taken_name_leaves_its_owner_alone(hierarchy: Hierarchy) -> None:
    """The second group is refused; the first one stays as it was made."""
    group = hierarchy.create(NAME, LIMITS, None)
    before = directories()
    with pytest.raises(GroupError, match="File exists"):
        hierarchy.create(NAME, ResourceLimits(), None)
    assert directories() == before
    assert group.remove()


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
def test_whatever_call_fails_nothing_is_left(
    hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """The n-th mkdir, open, read or write fails, for every n: an error, and no group of a job.

    A client's first job needs its group too; a later one finds it there, and limited.
    """
    device = block_device("/var/tmp")
    names = ("mkdir", "open", "read", "pread", "write")
    reals = {(os, name): getattr(os, name) for name in names}
    reals[(builtins, "open")] = open
    client = ClientTotals(group_name("alice"), ResourceLimits(1.0, 100_000_000, processes=100))
    for failing in itertools.count():
        if first:
            hierarchy.remove_base()
        calls = itertools.count()

        def wrap(real: Any, calls: Any = calls, failing: int = failing) -> Any:
            def call(target: Any, *args: Any, **keywords: Any) -> Any:
                counts = isinstance(target, int) or str(target).startswith(CGROUPS)
                if counts and next(calls) == failing:
                    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), target)
                return real(target, *args, **keywords)

            return call

        with monkeypatch.context() as patched:
            for (module, name), real in reals.items():
                patched.setattr(module, name, wrap(real))
            try:
                group = hierarchy.create(NAME, LIMITS, device, client)
            except GroupError as error:
                assert "Too many open files" in str(error)  # noqa: PT017  which n succeeds is not known
            else:
                break
        assert directories() == [], failing
    assert failing > (45 if first else 25)
    assert {entry.limit: entry.state for entry in group.client_entries} == {
        "cpu": "enforced",
        "memory": "enforced",
        "disk_read": "unavailable",
        "disk_write": "unavailable",
        "processes": "enforced",
    }
    assert group.remove()


# Its first thread ends, and another goes on. 60, 93: exit(2) of one thread.
FIRST_ENDS = """
import ctypes, platform, threading
threading.Thread(target=threading.Event().wait).start()
print(flush=True)
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[platform.machine()], 0)
"""


def test_a_kill_reaches_a_process_whose_first_thread_has_ended(hierarchy: Hierarchy) -> None:
    """cgroup.kill does not: a job would live for ever that ignores TERM besides."""
    group = hierarchy.create(NAME, LIMITS, None)
    said, say = os.pipe()

    def work() -> None:
        os.dup2(say, 1)
        os.execv(sys.executable, [sys.executable, "-c", FIRST_ENDS])

    pid = run_inside(group, work)
    assert os.read(said, 1) == b"\n"
    os.close(said)
    os.close(say)
    deadline = time.monotonic() + 10 * slowness()
    while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
        assert time.monotonic() < deadline
        select.select([], [], [], 0.002)
    group.kill()
    pidfd = os.pidfd_open(pid)
    try:
        ended, _, _ = select.select([pidfd], [], [], 5 * slowness())
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # where the group's kill has failed
    finally:
        os.close(pidfd)
    os.waitpid(pid, 0)
    end(group)
    assert ended


def test_a_kill_without_descriptors_says_so(hierarchy: Hierarchy) -> None:
    """KILL that reached nobody is an error, and the next one works."""
    group = hierarchy.create(NAME, LIMITS, None)
    entered, inside = os.pipe()

    def work() -> None:
        os.write(inside, b"i")
        signal.pause()

    pid = run_inside(group, work)
    assert os.read(entered, 1) == b"i"
    os.close(entered)
    os.close(inside)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(GroupError, match="Too many open files"):
            group.kill()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    end(group)
    os.waitpid(pid, 0)


def test_no_disk_no_limit_of_it(hierarchy: Hierarchy) -> None:
    """A work_root on tmpfs or overlay: said before a job is refused for it."""
    found = {entry.limit: entry.state for entry in hierarchy.capabilities(None)}
    assert {name for name, state in found.items() if state == "unavailable"} == {
        "disk_read",
        "disk_write",
    }


def test_capabilities_are_tried_and_leave_nothing(hierarchy: Hierarchy) -> None:
    """cpu, memory and processes hold on every kernel; v1 holds disks for direct I/O only."""
    disk = "enforced" if hierarchy.kind == "v2" else "partial"
    found = {entry.limit: entry.state for entry in hierarchy.capabilities("8:0")}
    assert found == {
        "cpu": "enforced",
        "memory": "enforced",
        "disk_read": disk,
        "disk_write": disk,
        "processes": "enforced",
        "output": "enforced",
        "storage": "partial",
        "files": "partial",
    }
    assert directories() == []


def test_a_rule_of_the_parent_holds_on_v2_alone(hierarchy: Hierarchy, tmp_path: Path) -> None:
    """Why a client's total bandwidth is enforced there, and unavailable on v1."""
    device = block_device(str(tmp_path))
    if device is None:
        pytest.skip("the temporary directory is on no disk")
    group = hierarchy.create(NAME, ResourceLimits(), device)
    is_v2 = hierarchy.kind == "v2"
    job = next(path for path in directories() if is_v2 or path.startswith(f"{CGROUPS}blkio/"))
    name, rule = ("io.max", "wbps=") if is_v2 else ("blkio.throttle.write_bps_device", "")
    (Path(job).parent / name).write_text(f"{device} {rule}100000")

    def work() -> None:
        fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
        os.write(fd, bytes(2**20))
        os.fsync(fd)

    begin = time.monotonic()
    os.waitpid(run_inside(group, work), 0)
    seconds = time.monotonic() - begin
    assert seconds > 8 if is_v2 else seconds < 5  # held, it takes ten
    assert group.counters()["write_bytes"] >= 2**20
    end(group)


@pytest.mark.parametrize("above", [0, 1, 2], ids=["own", "client", "parent"])
def test_whoever_has_frozen_it_it_runs_on_when_it_is_thawed(
    hierarchy: Hierarchy, above: int
) -> None:
    """Its own group, its client's or penstock's; which one it was is said."""
    group = hierarchy.create(
        NAME, ResourceLimits(), None, ClientTotals(group_name("alice"), ResourceLimits())
    )
    read_end, write_end = os.pipe()

    def work() -> None:
        while True:
            os.write(write_end, b"x")

    pid = run_inside(group, work)
    os.close(write_end)
    directory = Path(group.path)
    for _ in range(above):
        directory = directory.parent
    v2 = directory / "cgroup.freeze"
    if v2.exists():
        v2.write_text("1")
    else:
        (directory / "freezer.state").write_text("FROZEN")
    deadline = time.monotonic() + 10
    while not group.frozen():
        assert time.monotonic() < deadline
    os.set_blocking(read_end, False)
    while True:  # what it wrote before
        try:
            os.read(read_end, 65536)
        except BlockingIOError:
            break
    assert not select.select([read_end], [], [], 0.05)[0]
    assert f"{directory} was frozen" in group.thaw()
    assert select.select([read_end], [], [], 10 * slowness())[0]
    assert group.thaw() == []
    os.close(read_end)
    end(group)
    os.waitpid(pid, 0)


def test_limits_that_were_changed_are_put_back_by_the_kernel(hierarchy: Hierarchy) -> None:
    """Of every controller there is, up and down, with a process inside; others' disks stay."""
    totals = ClientTotals(group_name("alice"), ResourceLimits(1.5, 200_000_000, processes=300))
    group = hierarchy.create(NAME, LIMITS, block_device("/var/tmp"), totals)
    entered, inside = os.pipe()

    def work() -> None:
        os.write(inside, b"i")
        signal.pause()

    pid = run_inside(group, work)
    assert os.read(entered, 1) == b"i"
    os.close(entered)
    os.close(inside)
    before = list(group.entries), list(group.client_entries)
    for values in ({"-1": "-1", "max": "max"}, {"-1": "2000", "max": "4"}):
        changed = 0
        for directory in (each for own in members.directories(group) for each in (own, own.parent)):
            for name, value in (
                *(
                    ("cpu.cfs_quota_us", values["-1"]),
                    ("cpu.max", values["-1"].replace("-1", "max")),
                ),
                *(("pids.max", values["max"]), ("memory.memsw.limit_in_bytes", "-1")),
                *(("memory.limit_in_bytes", "-1"), ("memory.max", "max")),
            ):
                if (path := directory / name).exists():
                    path.write_text(value)
                    changed += 1
        found = group.limit_check.changed()
        assert len(found) >= 6
        assert changed >= len(found)
        group.limit_check.put_back()
        assert group.limit_check.changed() == []
        assert all(each.put_back for each in group.limit_check.settle(found))
        after = [*group.entries, *group.client_entries]
        assert [(each.state, each.actual) for each in after] == [
            (each.state, each.actual) for each in (*before[0], *before[1])
        ]
    group.kill()
    os.waitpid(pid, 0)
    while not group.remove():  # it can be busy for a moment after its last process
        select.select([], [], [], 0.002)
