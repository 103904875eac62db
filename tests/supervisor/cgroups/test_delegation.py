"""Where the own group is, from /proc/self/cgroup and the mounts, on trees of plain files."""

import errno
import os
from pathlib import Path

import pytest

from penstock.supervisor.cgroups import GroupError, Mounts, find_place
from penstock.supervisor.cgroups.cgroup_mounts import parse
from penstock.supervisor.cgroups.delegation import own_path

SYSTEMD_V2 = "0::/system.slice/penstockd.service\n"
HYBRID = (
    "5:cpu,cpuacct:/user.slice\n1:name=systemd:/system.slice/p.service\n"
    "0::/system.slice/p.service\n"
)


def mounts_of(root: Path, unit: str, *, v2_root: str = "/", controllers: str = "cpu io") -> Mounts:
    """A v2 mount whose unit has the files that the kernel would make."""
    directory = Path(f"{root}{unit}")
    (directory / "supervisor").mkdir(parents=True)
    for path in (directory, directory / "supervisor"):
        (path / "cgroup.procs").touch()
    (directory / "cgroup.controllers").write_text(controllers)
    return Mounts({}, str(root), frozenset({"cpu", "io", "memory", "pids"}), True, v2_root)


@pytest.mark.parametrize(
    ("text", "v2", "path"),
    [
        (SYSTEMD_V2, True, "/system.slice/penstockd.service"),
        (HYBRID, True, "/system.slice/p.service"),
        (HYBRID, False, "/system.slice/p.service"),
        ("0::/a:b\n", True, "/a:b"),
        ("0::/\n", True, "/"),
        ("0::/gone (deleted)\n", True, None),
        ("5:cpu:/x\n", True, None),
        ("5:cpu:/x\n", False, None),
        ("", True, None),
    ],
)
def test_the_own_group_is_the_managers(text: str, v2: bool, path: str | None) -> None:
    """That of the v2 mount, or on pure v1 that of systemd's own hierarchy; not a controller's."""
    assert own_path(text, v2=v2) == path


@pytest.mark.parametrize("own", ["/s/p.service", "/s/p.service/supervisor"])
def test_jobs_are_beside_the_leaf(tmp_path: Path, own: str) -> None:
    """Whether penstockd was started in the unit's group or in its leaf; only this process moves."""
    mounts = mounts_of(tmp_path, "/s/p.service")
    below, parent = find_place("delegated", mounts, f"0::{own}\n")
    assert (below.v2, parent) == (f"{tmp_path}/s/p.service", "/jobs")
    assert below.v2_controllers == {"cpu", "io"}  # what the unit has, not what the host has
    assert (tmp_path / "s/p.service/supervisor/cgroup.procs").read_text() == "0"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_other_processes_in_the_unit_are_named(tmp_path: Path) -> None:
    """They would keep its controllers from jobs; without controllers they do not matter."""
    mounts = mounts_of(tmp_path, "/p")
    (tmp_path / "p/cgroup.procs").write_text("17\n18\n")
    with pytest.raises(GroupError, match=r"processes besides penstockd, \[17, 18\]"):
        find_place("delegated", mounts, "0::/p\n")
    (tmp_path / "p/cgroup.controllers").write_text("")
    assert find_place("delegated", mounts, "0::/p\n")[1] == "/jobs"


def test_a_container_sees_a_part_of_the_hierarchy(tmp_path: Path) -> None:
    """Its own group is what is mounted, or below it; what is elsewhere cannot be reached."""
    mounts = mounts_of(tmp_path, "", v2_root="/docker/c")
    (tmp_path / "cgroup.type").touch()
    assert find_place("delegated", mounts, "0::/docker/c\n")[0].v2 == str(tmp_path)
    for elsewhere in ("0::/docker/cc\n", "0::/\n"):
        with pytest.raises(GroupError, match="no group of its own"):
            find_place("delegated", mounts, elsewhere)
    (tmp_path / "cgroup.type").unlink()  # which the host's root alone has not
    with pytest.raises(GroupError, match="no group of its own"):
        find_place("delegated", mounts, "0::/docker/c\n")


def test_only_a_mark_of_systemds_is_followed_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session's scope, or a unit without Delegate=, is somebody else's to divide."""
    mounts = mounts_of(tmp_path, "/p")
    marks: dict[str, bytes] = {}

    def getxattr(path: str, name: str) -> bytes:
        if path == f"{tmp_path}/p" and name in marks:
            return marks[name]
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA), path)

    monkeypatch.setattr(os, "getxattr", getxattr)
    assert find_place(None, mounts, "0::/p\n") == (mounts, "/penstock")
    marks["trusted.delegate"] = b"0"
    assert find_place(None, mounts, "0::/p\n") == (mounts, "/penstock")
    marks["trusted.delegate"] = b"1"
    assert find_place(None, mounts, "0::/p\n")[1] == "/jobs"
    assert find_place("/penstock", mounts, "0::/p\n") == (mounts, "/penstock")


def test_what_is_mounted_of_v2_is_read(tmp_path: Path) -> None:
    """Field 4 of proc_pid_mountinfo(5)."""
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    found = parse(f"41 31 0:38 /docker/c {tmp_path} rw - cgroup2 cgroup2 rw\n")
    assert (found.v2_root, found.v2_counts_cpu) == ("/docker/c", False)
    assert found.v2_controllers == {"cpu"}
