"""A child is in its group, in every hierarchy, however the kernel lets it get there."""

import errno
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
from inside import directories, fork_inside
from kinds import host_kinds, mountinfo
from this_run import group as group_of

from penstock.policy.limit_classes import ResourceLimits
from penstock.supervisor.cgroups import Hierarchy, detect, job_group
from penstock.supervisor.kernel import clone3
from penstock.supervisor.kernel.proc_tree import children

pytestmark = pytest.mark.root
NAME = "0011223344556677" * 2


@pytest.fixture(params=host_kinds())
def hierarchy(request: pytest.FixtureRequest) -> Iterator[Hierarchy]:
    found = detect(group_of("born"), mountinfo(request.param))
    assert found is not None
    found.sweep()
    yield found
    found.sweep()
    found.remove_base()


@pytest.mark.parametrize("born", [True, False])
def test_it_is_inside(hierarchy: Hierarchy, born: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With clone3 as without it, and its exit status comes to its parent."""
    monkeypatch.setattr(job_group, "_can_be_born_inside", lambda: born)
    group = hierarchy.create(NAME, ResourceLimits(memory_bytes=100_000_000, processes=8), None)
    inside = directories(group)
    assert (group.entrance().birth_fd is not None) is (born and hierarchy.kind != "v1")
    (ready_read, ready_write), (code_read, code_write) = os.pipe(), os.pipe()
    pid = fork_inside(group)
    if pid == 0:
        os.write(ready_write, b"r")
        os._exit(os.read(code_read, 1)[0])
    assert os.read(ready_read, 1) == b"r"
    for directory in inside:
        assert str(pid) in (directory / "cgroup.procs").read_text().split(), directory
    assert len({directory.parent.parent for directory in inside}) == len(inside)
    os.write(code_write, bytes([7]))
    for fd in (ready_read, ready_write, code_read, code_write):
        os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    while not group.remove():  # v1 is busy for a moment after the last process
        os.sched_yield()


def test_this_kernel_is_asked() -> None:
    """Nothing is forked by that."""
    major, minor = (int(part) for part in platform.release().split(".")[:2])
    before = children(os.getpid())
    assert clone3.can_clone_into() is ((major, minor) >= (5, 7))
    assert children(os.getpid()) == before


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG])
def test_a_kernel_or_a_filter_that_refuses(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old kernel, or a container's seccomp filter: groups are entered by their files then."""

    def refused(directory_fd: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(clone3, "clone_into", refused)
    assert not clone3.can_clone_into()


def test_a_directory_that_is_no_group(tmp_path: Path) -> None:
    """The error of the call, in the parent; there is no child."""
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        clone3.clone_into(fd)
    os.close(fd)
