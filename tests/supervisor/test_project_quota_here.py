"""Project quotas on whatever host this is: what they say of one without, and their structures."""

import os
from pathlib import Path

import pytest

from penstock.policy.limit_classes import (
    STORAGE_LIMIT_NAMES,
    Enforcement,
    ResourceLimits,
    held_without_groups,
    with_quotas,
)
from penstock.supervisor.storage import project_quota
from penstock.supervisor.storage.project_quota import Project, ProjectQuotas


def test_a_host_without_says_so_and_gives_none(tmp_path: Path) -> None:
    """Nothing raises, nothing is left of the try, and jobs are looked at."""
    quotas = ProjectQuotas("/proc" if os.geteuid() == 0 else str(tmp_path))
    wanted = "no project quotas" if os.geteuid() == 0 else "without root"
    assert wanted in quotas.missing
    assert quotas.entries() == []
    assert quotas.hold([str(tmp_path)], ResourceLimits(storage_bytes=1, files=1)) is None
    quotas.sweep()
    quotas.free(Project(project_quota.FIRST, 1024, 1))
    assert list(tmp_path.iterdir()) == []
    assert "project quotas cannot be used here" in _missing_of(tmp_path / "none")


def _missing_of(path: Path) -> str:
    return (
        ProjectQuotas(str(path)).missing
        if os.geteuid() == 0
        else ("project quotas cannot be used here")
    )


def test_the_kernels_structures_have_their_sizes() -> None:
    """linux/quota.h, linux/fs.h: of 64-bit machines."""
    assert project_quota._BLOCK.size == 72
    assert project_quota._ATTRIBUTES.size == 28
    # The size is a part of an ioctl's number (asm-generic/ioctl.h).
    for number in (project_quota._GET_ATTRIBUTES, project_quota._SET_ATTRIBUTES):
        assert number >> 16 & 0x3FFF == project_quota._ATTRIBUTES.size


@pytest.mark.parametrize("confined", [True, False])
def test_it_is_enforced_only_for_who_cannot_leave(confined: bool) -> None:
    """And of what it limits alone."""
    held = Project(7, 1024, None).entries(confined=confined)
    assert set(held) == {"storage"}
    entry = held["storage"]
    assert entry.state == ("enforced" if confined else "partial")
    assert entry.actual == "1024"


def test_a_host_with_quotas_holds_it_better() -> None:
    """In place of the looks, and nothing else is changed."""
    better = [Enforcement(name, "enforced", detail="by quota") for name in STORAGE_LIMIT_NAMES]
    without = held_without_groups()
    found = {entry.limit: entry for entry in with_quotas(without, better)}
    assert [found[name] for name in STORAGE_LIMIT_NAMES] == better
    assert found["output"] == without[0]
    assert with_quotas(without, []) == without
