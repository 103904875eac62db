"""Clients' groups on trees of plain files: what is made, written and read back, and what if not.

What a kernel makes of it is for the system tests.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.policy.limit_classes import CHANGED_OUTSIDE, Enforcement, ResourceLimits
from penstock.supervisor.cgroups import (
    ClientTotals,
    Group,
    GroupError,
    Swept,
    TotalRefused,
    group_files,
    group_name,
    sweeping,
)
from penstock.supervisor.cgroups import hierarchy as hierarchies
from penstock.supervisor.cgroups.cgroup_mounts import Mounts
from penstock.supervisor.cgroups.client_groups import ClientGroups
from penstock.supervisor.cgroups.hierarchy import CgroupHierarchy
from penstock.supervisor.cgroups.v1 import V1Limits
from penstock.supervisor.cgroups.v2 import enable_controllers

V1_FILES = {
    "cpu": ("cpu.cfs_period_us", "cpu.cfs_quota_us"),
    "cpuacct": (),
    "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.use_hierarchy"),
    "pids": ("pids.max",),
    "blkio": ("blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"),
    "freezer": ("freezer.state",),
}
V2_FILES = (
    *("cpu.max", "memory.max", "memory.swap.max", "memory.oom.group", "io.max", "pids.max"),
    *("cgroup.subtree_control", "cgroup.procs", "cgroup.events"),
)
PAGE = os.sysconf("SC_PAGE_SIZE")
LIMITS = ResourceLimits(0.25, 25 * PAGE, 10_000_000, 20_000_000, 64)
ALICE = ClientTotals("client-alice", LIMITS)
JOB = "0123456789abcdef" * 2


class Kernel:
    """mkdir that fills a new directory of ``root`` with the files that the kernel makes there."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.use_hierarchy = "1"
        self.back: dict[str, str] = {}
        """What a file reads whatever was written."""
        self.made: list[Group] = []
        self._mkdir, self._read, self._put = os.mkdir, group_files.read, group_files.put
        for name in (*V1_FILES, "unified"):
            (root / name).mkdir()
        monkeypatch.setattr(os, "mkdir", self.mkdir)
        for module in ("v1", "v2", "v2_kill"):
            monkeypatch.setattr(f"penstock.supervisor.cgroups.{module}.read", self.read)
        monkeypatch.setattr("penstock.supervisor.cgroups.v1.put", self.put)
        self._write = group_files.write
        for module in ("v1", "v2", "cpu_quota"):
            monkeypatch.setattr(f"penstock.supervisor.cgroups.{module}.write", self.write)

    def mounts(self, kind: str) -> Mounts:
        v1 = {} if kind == "v2" else {name: str(self.root / name) for name in V1_FILES}
        if kind == "v1":
            return Mounts(v1)
        (self.root / "unified/cgroup.subtree_control").touch()
        controllers = "cpu io memory pids" if kind == "v2" else ""
        (self.root / "unified/cgroup.controllers").write_text(controllers)
        return Mounts(v1, str(self.root / "unified"), frozenset(controllers.split()), True)

    def mkdir(self, path: Any, *arguments: Any, **keywords: Any) -> None:
        self._mkdir(path, *arguments, **keywords)
        within = Path(path).relative_to(self.root).parts
        names = V2_FILES if within[0] == "unified" else V1_FILES[within[0]]
        for name in names:
            (Path(path) / name).touch()
        if within[0] == "unified":
            given = Path(path).parent / "cgroup.subtree_control"
            enabled = given.read_text().replace("+", "")
            (Path(path) / "cgroup.controllers").write_text(enabled)
        elif within[0] == "cpu":
            (Path(path) / "cpu.cfs_period_us").write_text("100000")
        elif within[0] == "memory":
            (Path(path) / "memory.use_hierarchy").write_text(self.use_hierarchy)

    def read(self, path: str) -> str:
        return self.back.get(os.path.basename(path)) or self._read(path)

    def write(self, path: str, value: str) -> None:
        if os.path.exists(path):  # of a plain file the rest of a longer text would stay
            os.truncate(path, 0)
        self._write(path, value)

    def put(self, path: str, value: str) -> str:
        if os.path.exists(path):
            os.truncate(path, 0)
        return self.back.get(os.path.basename(path)) or self._put(path, value)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path, monkeypatch)
    yield kernel
    for group in kernel.made:
        if (fd := group.notify_fd()) is not None:
            os.close(fd)


def create(
    kernel: Kernel,
    hierarchy: CgroupHierarchy,
    limits: ResourceLimits,
    client: ClientTotals,
    name: str,
) -> Group:
    group = hierarchy.create(name, limits, None, client)
    kernel.made.append(group)
    return group


def groups(kernel: Kernel, kind: str) -> ClientGroups:
    mounts = kernel.mounts(kind)
    if kind == "v2":
        enable_controllers(f"{kernel.root}/unified", "/penstock")
    else:
        for root in mounts.roots(kind):
            os.mkdir(f"{root}/penstock")
    return ClientGroups(kind, mounts, "/penstock")


def states(found: list[Enforcement]) -> dict[str, tuple[str, str]]:
    return {entry.limit: (entry.state, entry.actual) for entry in found}


def test_names_are_safe_and_cannot_meet() -> None:
    """Plain ids can be read; whatever else is told by its hash. None is a file of the kernel's."""
    assert group_name("alice") == "client-alice"
    assert group_name("memory.max") == "client-memory.max"
    odd = [
        "spiffe://example.org/ci",
        "../../etc",
        "",
        "a/b",
        "\ud800",
        "A",
        "a\n",
        "x" * 64,
        "a" * 63,
    ]
    names = [group_name(text) for text in odd]
    assert len(set(names)) == len(odd)
    for name in names:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert len(name) <= 70


def test_v2_gives_controllers_at_each_level_and_kills_one_job(kernel: Kernel) -> None:
    """The client's group gives them to jobs before it is limited, and is not killed as a whole."""
    found = groups(kernel, "v2").hold(ALICE, "254:0").entries
    assert states(found) == {
        "cpu": ("enforced", "25000us/100000us"),
        "memory": ("enforced", str(25 * PAGE)),
        "disk_read": ("enforced", "10000000"),
        "disk_write": ("enforced", "20000000"),
        "processes": ("enforced", "64"),
    }
    for level in ("penstock", "penstock/client-alice"):
        control = kernel.root / "unified" / level / "cgroup.subtree_control"
        assert control.read_text() == "+cpu +io +memory +pids"
    assert (kernel.root / "unified/penstock/client-alice/memory.oom.group").read_text() == ""


@pytest.mark.parametrize("kind", ["v1", "hybrid"])
def test_v1_holds_all_but_disks(kernel: Kernel, kind: str) -> None:
    """A rule of the parent says nothing to jobs below it, so none is written."""
    found = groups(kernel, kind).hold(ALICE, "254:0").entries
    assert states(found) == {
        "cpu": ("enforced", "25000us/100000us"),
        "memory": ("enforced", str(25 * PAGE)),
        "disk_read": ("unavailable", ""),
        "disk_write": ("unavailable", ""),
        "processes": ("enforced", "64"),
    }
    assert "not those below it together" in found[2].detail
    used = {path.parent.parent.name for path in kernel.root.glob("*/penstock/client-alice")}
    left_out = {"cpuacct", "freezer"} if kind == "hybrid" else {"unified"}
    assert used == {*V1_FILES, "unified"} - left_out


@pytest.mark.parametrize(
    ("reads", "state"), [("1", "enforced"), ("0", "enforced"), ("stays 0", "unavailable")]
)
def test_memory_below_is_counted_or_the_limit_is_none(
    kernel: Kernel, reads: str, state: str
) -> None:
    """Linux before 5.11 has to be told; where it does not take it, the total holds nobody."""
    kernel.use_hierarchy = reads[-1]
    if reads == "stays 0":
        kernel.back["memory.use_hierarchy"] = "0"
    found = groups(kernel, "hybrid").hold(ALICE, None).entries
    assert states(found)["memory"][0] == state
    path = kernel.root / "memory/penstock/client-alice/memory.use_hierarchy"
    assert path.read_text() == "1"


@pytest.mark.parametrize(
    ("name", "back", "limit"),
    [
        ("cpu.cfs_quota_us", "-1", "cpu"),
        ("cpu.cfs_quota_us", "25001", "cpu"),
        ("cpu.cfs_quota_us", "24000", "cpu"),
        ("cpu.cfs_period_us", "50000", "cpu"),
        ("memory.limit_in_bytes", str(2**63 - PAGE), "memory"),
        ("memory.limit_in_bytes", str(25 * PAGE + 1), "memory"),
        ("memory.limit_in_bytes", str(24 * PAGE), "memory"),
        ("memory.limit_in_bytes", "max", "memory"),
        ("memory.memsw.limit_in_bytes", str(2**63 - PAGE), "memory"),
        ("memory.memsw.limit_in_bytes", "", "memory"),
        ("pids.max", "max", "processes"),
        ("pids.max", "65", "processes"),
        ("blkio.throttle.read_bps_device", "254:0 10000001", "disk_read"),
        ("blkio.throttle.read_bps_device", "254:16 10000000", "disk_read"),
        ("blkio.throttle.write_bps_device", "254:0", "disk_write"),
        ("blkio.throttle.write_bps_device", "rubbish", "disk_write"),
    ],
)
def test_what_v1_reads_back_otherwise_is_unavailable(
    kernel: Kernel, name: str, back: str, limit: str
) -> None:
    """Of a job and of a client; the other limits hold, as far as they do."""
    kernel.back[name] = back or "no number"
    mounts = kernel.mounts("hybrid")
    found = groups(kernel, "hybrid").hold(ALICE, "254:0").entries
    if not name.startswith("blkio"):
        assert states(found).pop(limit)[0] == "unavailable"
    job = V1Limits(mounts.v1, "/penstock/client-alice", JOB, mounts.v1_used())
    job.create(LIMITS, "254:0")
    after = states(job.entries)
    assert after.pop(limit)[0] == "unavailable"
    assert "unavailable" not in {state for state, _ in after.values()}


def test_a_disk_is_limited_when_a_job_first_works_on_it(kernel: Kernel) -> None:
    """Once for each; a client is not written again for a disk that it has had."""
    held = groups(kernel, "v2")
    first = held.hold(ALICE, "254:0")
    assert held.hold(ALICE, "254:0") is first
    assert states(held.hold(ALICE, "254:16").entries)["disk_write"] == ("enforced", "20000000")
    assert states(held.hold(ALICE, None).entries)["disk_write"] == ("unavailable", "")


def changed(**limits: Any) -> dict[str, ResourceLimits]:
    return {"client-alice": replace(LIMITS, **limits)}


def in_use(kernel: Kernel, kind: str, used: int, *, by: str = "4711", files: int = 0) -> None:
    """What alice's jobs have in memory now, how much of it is of files, and their processes."""
    where = "unified" if kind == "v2" else "memory"
    name = "memory.current" if kind == "v2" else "memory.usage_in_bytes"
    group = kernel.root / where / "penstock/client-alice"
    (group / name).write_text(str(used))
    total = "" if kind == "v2" else "total_"
    stat = f"anon 1\ninactive_file 7\nactive_file 0\n{total}inactive_file {files}\nodd\n"
    (group / "memory.stat").write_text(stat)
    (group / "memory.high").write_text("max")
    (group / "cgroup.procs").write_text(by)


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
def test_other_totals_are_held_by_the_same_object(kernel: Kernel, kind: str) -> None:
    """Because the checks of running jobs look through it; they would put the old ones back."""
    held = groups(kernel, kind)
    limits = held.hold(ALICE, None)
    in_use(kernel, kind, 20 * PAGE)
    held.change(changed(memory_bytes=20 * PAGE, cpu_cores=0.5, processes=None))
    assert states(limits.entries)["memory"] == ("enforced", str(20 * PAGE))
    assert states(limits.entries)["cpu"] == ("enforced", "50000us/100000us")
    assert states(limits.entries)["processes"] == ("unavailable", "")
    assert limits.files.changed() == []
    where = "unified" if kind == "v2" else "pids"
    assert (kernel.root / where / "penstock/client-alice/pids.max").read_text() == "max"
    assert held.hold(ClientTotals("client-alice", changed(memory_bytes=1)["client-alice"]), None)


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_memory_below_what_is_in_use_changes_nothing(kernel: Kernel, kind: str) -> None:
    """v2 would take it, and end processes for it."""
    held = groups(kernel, kind)
    bob = held.hold(ClientTotals("client-bob", LIMITS), None)
    limits = held.hold(ALICE, None)
    in_use(kernel, kind, 21 * PAGE)
    totals = changed(memory_bytes=20 * PAGE)
    with pytest.raises(TotalRefused, match=f"use {21 * PAGE} bytes") as caught:
        held.change({"client-bob": replace(LIMITS, processes=3), **totals})
    assert caught.value.name == "client-alice"
    assert states(bob.entries) == states(limits.entries)
    assert bob.files.changed() == limits.files.changed() == []


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
def test_what_the_kernel_keeps_of_files_refuses_nothing(
    kernel: Kernel, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives that back: v2 at memory.high, where nobody is ended for it, v1 by itself."""
    held = groups(kernel, kind)
    limits = held.hold(ALICE, None)
    in_use(kernel, kind, 24 * PAGE, files=5 * PAGE)
    given_back = 4 * PAGE
    written: list[str] = []

    def write(path: str, value: str) -> None:
        kernel.write(path, value)
        written.append(value)
        if value != "max":
            (Path(path).parent / "memory.current").write_text(str(24 * PAGE - given_back))

    monkeypatch.setattr("penstock.supervisor.cgroups.client_groups.write", write)
    held.change(changed(memory_bytes=20 * PAGE))
    assert states(limits.entries)["memory"] == ("enforced", str(20 * PAGE))
    assert written == ([str(20 * PAGE), "max"] if kind == "v2" else [])
    if kind != "v2":
        return
    in_use(kernel, kind, 24 * PAGE, files=6 * PAGE)
    with pytest.raises(TotalRefused, match=f"use {20 * PAGE} bytes"):  # it has kept some
        held.change(changed(memory_bytes=19 * PAGE))
    assert states(limits.entries)["memory"] == ("enforced", str(20 * PAGE))
    assert written[-1] == "max"


def test_a_group_that_was_removed_refuses_nothing(kernel: Kernel) -> None:
    """By another program: it is made anew, and limited, with the next start."""
    held = groups(kernel, "hybrid")
    held.hold(ALICE, None)
    for path in kernel.root.glob("*/penstock/client-alice"):
        shutil.rmtree(path)
    held.change(changed(memory_bytes=PAGE))
    assert not list(kernel.root.glob("*/penstock/client-alice"))
    again = held.hold(
        ClientTotals("client-alice", changed(memory_bytes=PAGE)["client-alice"]), None
    )
    assert states(again.entries)["memory"] == ("enforced", str(PAGE))


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_what_no_process_uses_is_no_reason_to_refuse(kernel: Kernel, kind: str) -> None:
    """The kernel keeps pages of files that ended jobs have read, and nobody could stop those."""
    held = groups(kernel, kind)
    limits = held.hold(ALICE, None)
    in_use(kernel, kind, 21 * PAGE, by="")
    held.change(changed(memory_bytes=20 * PAGE))
    assert states(limits.entries)["memory"] == ("enforced", str(20 * PAGE))


def test_what_the_kernel_refuses_is_undone(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that was written before it, of this client and of others, too."""
    held = groups(kernel, "v1")
    bob = held.hold(ClientTotals("client-bob", LIMITS), None)
    limits = held.hold(ALICE, None)
    put = kernel.put

    def refuse(path: str, value: str) -> str:
        if path.endswith("alice/pids.max") and value == "3":
            raise GroupError(f"writing {value!r} to {path}: Invalid argument")
        return put(path, value)

    monkeypatch.setattr("penstock.supervisor.cgroups.v1.put", refuse)
    few = {"client-bob": replace(LIMITS, processes=3), **changed(processes=3, cpu_cores=0.1)}
    with pytest.raises(TotalRefused, match="Invalid argument"):
        held.change(few)
    for each in (bob, limits):
        assert states(each.entries)["processes"] == ("enforced", "64")
        assert states(each.entries)["cpu"] == ("enforced", "25000us/100000us")
        assert each.files.changed() == []


def test_what_could_not_be_limited_is_limited_by_the_next(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's group that is there is no client's group that holds."""
    held = groups(kernel, "hybrid")
    with monkeypatch.context() as patched:

        def refuse(path: str, value: str) -> str:
            raise GroupError(f"writing {value!r} to {path}: No space left on device")

        patched.setattr("penstock.supervisor.cgroups.v1.put", refuse)
        with pytest.raises(GroupError, match="No space left"):
            held.hold(ALICE, None)
    assert states(held.hold(ALICE, None).entries)["processes"] == ("enforced", "64")


@pytest.mark.parametrize("kind", ["v1", "hybrid", "v2"])
@pytest.mark.parametrize("gone", ["penstock", "penstock/client-alice"])
def test_a_group_that_somebody_removed_is_made_and_limited_again(
    kernel: Kernel, kind: str, gone: str
) -> None:
    """No job is ever born beneath a group that was made anew without its limits."""
    mounts = kernel.mounts(kind)
    hierarchy = CgroupHierarchy(kind, mounts, "/penstock")
    hierarchy.sweep()
    create(kernel, hierarchy, LIMITS, ALICE, JOB)
    for root in mounts.roots(kind):
        _remove(Path(root) / gone)
    group = create(kernel, hierarchy, LIMITS, ALICE, JOB[::-1])
    assert states(group.client_entries)["processes"] == ("enforced", "64")
    top = kernel.root / ("unified" if kind == "v2" else "pids")
    assert (top / "penstock/client-alice/pids.max").read_text() == "64"
    assert (top / "penstock/client-alice" / JOB[::-1]).is_dir()


def test_groups_that_can_never_be_made_are_one_error(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried once more and not for ever."""
    hierarchy = CgroupHierarchy("hybrid", kernel.mounts("hybrid"), "/penstock")

    def refuse(path: Any, *_arguments: Any, **_keywords: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(GroupError, match=r"making .*No such file"):
        hierarchy.create(JOB, LIMITS, None, ALICE)


def test_v1_gives_no_job_more_cpu_than_its_client(kernel: Kernel) -> None:
    """The kernel would refuse it, with EINVAL and no word to the client."""
    hierarchy = CgroupHierarchy("hybrid", kernel.mounts("hybrid"), "/penstock")
    group = create(kernel, hierarchy, ResourceLimits(cpu_cores=8.0), ALICE, JOB)
    assert states(group.entries)["cpu"] == ("enforced", "25000us/100000us")
    free = ClientTotals("client-bob", ResourceLimits())
    group = create(kernel, hierarchy, ResourceLimits(cpu_cores=8.0), free, JOB)
    assert states(group.entries)["cpu"] == ("enforced", "800000us/100000us")


def test_controllers_that_are_mounted_together_are_one_directory(
    kernel: Kernel, tmp_path: Path
) -> None:
    """As most distributions mount cpu and cpuacct."""
    both = {"cpu": str(tmp_path / "cpu"), "cpuacct": str(tmp_path / "cpu")}
    job = V1Limits(both, "", JOB)
    job.create(ResourceLimits(), None)
    assert job.tasks_files() == [f"{tmp_path}/cpu/{JOB}/tasks"]


def test_counters_of_a_group_that_is_gone_are_none(kernel: Kernel) -> None:
    """Whoever removed it, the job's end is told all the same; of one file, the rest is."""
    hierarchy = CgroupHierarchy("hybrid", kernel.mounts("hybrid"), "/penstock")
    group = create(kernel, hierarchy, LIMITS, ALICE, JOB)
    Path(group.usage_files["memory.oom_control"]).write_text("oom_kill 2\n")
    Path(group.usage_files["cpu.stat"]).write_bytes(b"usage_usec \xff\n")
    assert group.counters() == {"oom_kills": 2}
    for root in kernel.mounts("hybrid").roots("hybrid"):
        _remove(Path(root) / "penstock")
    assert group.counters() == {}


def test_a_sweep_ends_though_a_process_does_not(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In uninterruptible sleep KILL waits: what stays is told, and penstockd starts."""
    hierarchy = CgroupHierarchy("hybrid", kernel.mounts("hybrid"), "/penstock")
    hierarchy.sweep()
    create(kernel, hierarchy, LIMITS, ALICE, JOB)
    monkeypatch.setattr(sweeping, "_BOUND_S", 0.05)
    monkeypatch.setattr(sweeping, "pids_below", lambda path: [2**22 + 1])  # never a pid
    swept = hierarchy.sweep()
    assert (swept.jobs, swept.processes) == ((JOB,), 1)
    assert {Path(path).name for path in swept.left} == {"client-alice"}
    assert hierarchies.CgroupHierarchy("v1", kernel.mounts("v1"), "/none").sweep() == Swept()


def _remove(directory: Path) -> None:
    """As rmdir of a group, which does not mind the kernel's files."""
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    directory.rmdir()


@pytest.mark.parametrize("kind", ["v1", "hybrid", "v2"])
def test_every_file_that_was_written_is_looked_at_again(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Of the job and its client, each by its limit; put back it is as it was, for every disk."""

    def anew(path: str, value: str) -> None:
        Path(path).write_text(value)

    monkeypatch.setattr("penstock.supervisor.cgroups.control_files.write", anew)
    hierarchy = CgroupHierarchy(kind, kernel.mounts(kind), "/penstock")
    hierarchy.sweep()
    group = hierarchy.create(JOB, LIMITS, "254:0", ALICE)
    kernel.made.append(group)
    assert group.limit_check.changed() == []
    written = {
        path: text
        for path in kernel.root.rglob("*")
        if path.is_file() and path.name in LOOKED_AT and path.parent.name != "penstock"
        if (text := path.read_text())
    }
    before = list(group.entries), list(group.client_entries)
    for path in written:
        path.write_text("9")
    changes = group.limit_check.changed()
    assert {(each.of, each.file) for each in changes} == {
        ("job" if path.parent.name == JOB else "client", path.name) for path in written
    }
    assert {each.limit for each in changes if each.of == "job"} >= {"cpu", "memory", "processes"}
    group.limit_check.put_back()
    assert {path: path.read_text() for path in written if path.name != "io.max"} == {
        path: text for path, text in written.items() if path.name != "io.max"
    }
    done = group.limit_check.settle(changes)
    # Of plain files the last of a disk's lines is all there is; the kernel has one for each disk.
    assert all(each.put_back for each in done if each.file != "io.max")
    after = [*group.entries, *group.client_entries]
    for entry, was in zip(after, [*before[0], *before[1]], strict=True):
        if entry.limit.startswith("disk") and kind == "v2":
            continue
        assert (entry.state, entry.actual) == (was.state, was.actual)
    assert all(CHANGED_OUTSIDE in entry.detail for entry in after if entry.limit == "cpu")
    group.limit_check.end()
    for path in written:
        path.write_text("9")
    assert group.limit_check.changed() == []


LOOKED_AT = {
    *("cpu.cfs_period_us", "cpu.cfs_quota_us", "cpu.max", "pids.max", "io.max"),
    *("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max"),
    *("memory.oom.group", "blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"),
}
