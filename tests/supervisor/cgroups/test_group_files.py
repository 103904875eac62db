"""Groups' files on captured texts and on trees of plain files; no kernel is asked.

A plain file keeps what is written, so these tests say what is written where, and how what
is read back is judged. What a kernel makes of it is for the system tests.
"""

import builtins
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from penstock.policy.limit_classes import ResourceLimits
from penstock.supervisor.cgroups import GroupError, detect, v2
from penstock.supervisor.cgroups.cgroup_mounts import parse
from penstock.supervisor.cgroups.cpu_quota import judge_quota, quota_and_period_us
from penstock.supervisor.cgroups.group_files import read
from penstock.supervisor.cgroups.v1 import has_swap
from penstock.supervisor.cgroups.v2_kill import V2Killer

NAME = "0123456789abcdef" * 2
V2_FILES = (
    *("cpu.max", "memory.max", "memory.swap.max", "memory.oom.group", "io.max", "pids.max"),
    *("cgroup.procs", "cgroup.subtree_control"),
)
V1_MOUNTS = ("cpu", "cpuacct", "memory", "pids", "blkio", "freezer")


def group_v2(root: Path, controllers: str = "cpuset cpu io memory pids") -> V2Killer:
    """A v2 group as files; a control file is written over, so they begin empty."""
    directory = root / "penstock" / NAME
    directory.mkdir(parents=True)
    for name in V2_FILES:
        (directory / name).touch()
    (directory / "cgroup.controllers").write_text(controllers + "\n")
    return V2Killer(str(directory))


def states(limits: v2.V2Limits) -> dict[str, tuple[str, str]]:
    return {entry.limit: (entry.state, entry.actual) for entry in limits.entries}


def mountinfo(root: Path, v1: tuple[str, ...], *, unified: bool) -> str:
    """Lines of the form of proc_pid_mountinfo(5)."""
    lines = [f"22 27 0:21 / {root}/proc rw,relatime - proc proc rw"]
    for name in v1:
        (root / name).mkdir()
        lines.append(f"32 31 0:29 / {root}/{name} rw shared:9 - cgroup cgroup rw,{name}")
    if unified:
        lines.append(f"41 31 0:38 / {root}/unified rw - cgroup2 cgroup2 rw,nsdelegate")
    return "\n".join(lines)


def test_mounts_are_read_from_the_kernels_list() -> None:
    """Controllers mounted together share a path; the path's octal escapes are undone."""
    found = parse(
        "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "34 31 0:31 / /sys/fs/cgroup/my\\040memory rw master:2 - cgroup cgroup rw,memory\n"
        "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
        "41 31 0:38 / /nowhere/unified rw - cgroup2 cgroup2 rw\n"
    )
    both = "/sys/fs/cgroup/cpu,cpuacct"
    assert found.v1 == {"cpu": both, "cpuacct": both, "memory": "/sys/fs/cgroup/my memory"}
    assert found.v2 is None  # it cannot be read


@pytest.mark.parametrize(
    ("v1", "unified", "kind"),
    [
        (V1_MOUNTS, True, "hybrid"),
        (V1_MOUNTS, False, "v1"),
        (V1_MOUNTS[:2], False, None),
        ((), True, None),
    ],
)
def test_the_kind_follows_from_what_is_mounted(
    tmp_path: Path, v1: tuple[str, ...], unified: bool, kind: str | None
) -> None:
    """A v2 mount without controllers is hybrid beside v1, and nothing on its own."""
    (tmp_path / "unified").mkdir()
    (tmp_path / "unified/cgroup.controllers").touch()
    found = detect("/penstock", mountinfo(tmp_path, v1, unified=unified))
    assert (found.kind if found is not None else None) == kind


def test_v2_controllers_are_enabled_from_the_top_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child can have only what its parent gives; what is on already is not written again."""
    given = {"": "cpuset memory", "penstock": "", "penstock/unit": "cpu io memory pids"}
    for level, enabled in given.items():
        (tmp_path / level).mkdir(exist_ok=True)
        (tmp_path / level / "cgroup.controllers").write_text("cpuset cpu io memory pids rdma\n")
        (tmp_path / level / "cgroup.subtree_control").write_text(enabled + "\n")
    written: list[tuple[str, str]] = []
    monkeypatch.setattr(v2, "write", lambda path, value: written.append((path, value)))
    v2.enable_controllers(str(tmp_path), "/penstock/unit")
    assert written == [
        (f"{tmp_path}/cgroup.subtree_control", "+cpu +io +pids"),
        (f"{tmp_path}/penstock/cgroup.subtree_control", "+cpu +io +memory +pids"),
    ]


def test_every_v2_limit_is_written_and_read_back(tmp_path: Path) -> None:
    """One file a limit; swap is none, and the whole group ends when it is out of memory."""
    group = group_v2(tmp_path)
    limits = v2.V2Limits(group.path)
    limits.create(ResourceLimits(0.25, 4096 * 25, 10_000_000, 20_000_000, 64), "254:0")
    assert states(limits) == {
        "cpu": ("enforced", "25000us/100000us"),
        "memory": ("enforced", "102400"),
        "disk_read": ("enforced", "10000000"),
        "disk_write": ("enforced", "20000000"),
        "processes": ("enforced", "64"),
    }
    content = {name: Path(group.path, name).read_text() for name in V2_FILES}
    assert content["memory.swap.max"] == "0"
    assert content["memory.oom.group"] == "1"
    assert content["io.max"] == "254:0 rbps=10000000 wbps=20000000"


@pytest.mark.parametrize(
    ("name", "back", "limit"),
    [
        ("cpu.max", "max 100000", "cpu"),
        ("cpu.max", "25001 100000", "cpu"),
        ("cpu.max", "24000 100000", "cpu"),
        ("cpu.max", "25000 50000", "cpu"),
        ("memory.max", "max", "memory"),
        ("memory.max", "104448", "memory"),
        ("memory.max", str(102400 - os.sysconf("SC_PAGE_SIZE")), "memory"),
        ("memory.swap.max", "max", "memory"),
        ("io.max", "254:16 rbps=10000000 wbps=20000000", "disk_read"),
        ("io.max", "254:0 rbps=max wbps=20000000 riops=max wiops=max", "disk_read"),
        ("io.max", "", "disk_write"),
        ("pids.max", "max", "processes"),
    ],
)
def test_what_reads_back_otherwise_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, back: str, limit: str
) -> None:
    """More than was asked, less by a unit, another disk, no limit: none of it is enforced."""
    group = group_v2(tmp_path)
    monkeypatch.setattr(v2, "read", lambda path: back if path.endswith(f"/{name}") else read(path))
    limits = v2.V2Limits(group.path)
    limits.create(ResourceLimits(0.25, 102400, 10_000_000, 20_000_000, 64), "254:0")
    found = states(limits)
    assert found.pop(limit)[0] == "unavailable"
    if name != "io.max":
        assert {state for state, _ in found.values()} == {"enforced"}


def test_a_limit_without_its_controller_is_unavailable(tmp_path: Path) -> None:
    """Nothing is written for it; the others hold."""
    limits = v2.V2Limits(group_v2(tmp_path, "cpu pids").path)
    limits.create(ResourceLimits(0.25, 102400, 10_000_000, None, 64), "254:0")
    found = states(limits)
    assert {name for name, (state, _) in found.items() if state == "enforced"} == {
        "cpu",
        "processes",
    }


def test_a_share_is_never_rounded_up() -> None:
    """Below 1% the period grows; below what the kernel takes the limit is refused, not raised."""
    assert quota_and_period_us(0.1) == (10_000, 100_000)
    assert quota_and_period_us(0.29) == (29_000, 100_000)  # int() alone would say 28,999
    assert quota_and_period_us(0.01) == (1000, 100_000)
    assert quota_and_period_us(0.005) == (5000, 1_000_000)
    with pytest.raises(GroupError, match=r"below 0\.001 cores"):
        quota_and_period_us(0.0009)
    assert judge_quota(5000, 1_000_000, "5000", "1000000").state == "enforced"
    assert judge_quota(5000, 1_000_000, "5000", "100000").state == "unavailable"
    assert judge_quota(5000, 1_000_000, "-1", "1000000").state == "unavailable"


@pytest.mark.parametrize(
    ("failure", "answer"), [(errno.ENOENT, False), (errno.EMFILE, None)], ids=["none", "unknown"]
)
def test_a_kernel_without_swap_has_none(
    monkeypatch: pytest.MonkeyPatch, failure: int, answer: bool | None
) -> None:
    """/proc/swaps is there only with CONFIG_SWAP; what cannot be known is an error."""

    def refuse(path: str, *_args: Any, **_keywords: Any) -> Any:
        raise OSError(failure, os.strerror(failure), path)

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", refuse)
        try:
            found: bool | None = has_swap()
        except GroupError:
            found = None
    assert found is answer
