"""The leak check sees what it is there for, and nothing else."""

import os
import subprocess
import threading
from pathlib import Path

import pytest
from leaks import Children, Descriptors, groups_left, job_groups, parent_groups
from this_run import new_group


def test_an_open_descriptor_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what it is; and no more once it is closed."""
    monkeypatch.setattr("leaks._SETTLE_S", 0.1)  # nobody closes it meanwhile
    descriptors = Descriptors()
    fd = os.open("/dev/null", os.O_RDONLY)
    assert descriptors.opened_since() == {fd: "/dev/null"}
    os.close(fd)
    assert descriptors.opened_since() == {}


def test_a_descriptor_that_a_thread_closes_at_once_is_no_leak() -> None:
    """As of a removal of files that nobody waits for any more."""
    descriptors = Descriptors()
    fd = os.open("/dev/null", os.O_RDONLY)
    closing = threading.Timer(0.05, os.close, (fd,))
    closing.start()
    assert descriptors.opened_since() == {}
    closing.join()


def test_an_orphan_is_seen_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose parent has ended comes to this one, and is ended."""
    monkeypatch.setattr("leaks._SETTLE_S", 0.1)  # it does not end by itself
    children = Children()
    subprocess.run(["/bin/sh", "-c", "sleep 98765 </dev/null >/dev/null 2>&1 &"], check=True)
    (left,) = children.left_behind()
    assert "sleep 98765" in left  # or the shell that is about to become it
    assert children.left_behind() == []


def test_an_orphan_that_ends_at_once_is_no_leak() -> None:
    """It is reaped."""
    children = Children()
    subprocess.run(["/bin/sh", "-c", "true </dev/null >/dev/null 2>&1 &"], check=True)
    assert children.left_behind() == []


@pytest.mark.root
def test_a_group_is_seen_in_any_hierarchy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own parent group, and what is below it."""
    monkeypatch.setattr("leaks._SETTLE_S", 0.1)  # nobody removes it meanwhile
    mounts = [
        Path(line.split()[4])
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if " - cgroup" in line and os.access(line.split()[4], os.W_OK)
    ]
    assert mounts
    before, parents = job_groups(), parent_groups()
    parent = mounts[-1] / new_group("seen").strip("/")
    (parent / "below").mkdir(parents=True)
    try:
        assert parent_groups() - parents == {str(parent)}
        assert groups_left(before) == [str(parent / "below")]
    finally:
        (parent / "below").rmdir()
        parent.rmdir()
