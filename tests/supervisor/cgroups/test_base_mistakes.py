"""Why penstockd could not begin with a base group, on trees of plain files."""

from pathlib import Path

import pytest

from penstock.supervisor.cgroups import GroupError, Mounts, base_mistakes
from penstock.supervisor.cgroups.client_groups import is_ours
from penstock.supervisor.cgroups.sweeping import sweep

NEEDED = frozenset({"cpu", "io", "memory", "pids"})


def test_a_group_that_is_not_there_or_is_penstocks_is_good(tmp_path: Path) -> None:
    """And nothing is made."""
    mounts = Mounts({}, str(tmp_path), NEEDED)
    assert base_mistakes(mounts, "/new/group") == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "ours" / "client-alice").mkdir(parents=True)
    assert base_mistakes(mounts, "/ours") == []


def test_another_services_group_is_named_as_the_sweep_names_it(tmp_path: Path) -> None:
    """By whoever may look, in the words of the start."""
    (tmp_path / "system.slice" / "ssh.service").mkdir(parents=True)
    mounts = Mounts({}, str(tmp_path), NEEDED)
    (text,) = base_mistakes(mounts, "/system.slice", own=False)
    assert text.startswith(f"cgroup_parent: {tmp_path}/system.slice/ssh.service is no group of")
    with pytest.raises(GroupError) as caught:
        sweep([f"{tmp_path}/system.slice"], is_ours)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("mounts", "base", "text"),
    [
        (Mounts({}), "/p", "no cgroup hierarchy can be written"),
        (Mounts({}, "@", frozenset({"cpu"})), "/p", "no cgroup hierarchy can be written"),
        (Mounts({}, "/proc", NEEDED), "/version/p", "/proc/version/p: Not a directory; name"),
    ],
    ids=["no mounts", "not enough controllers", "below a file"],
)
def test_what_cannot_be_made_is_said(mounts: Mounts, base: str, text: str) -> None:
    (mistake,) = base_mistakes(mounts, base)
    assert mistake.startswith("cgroup_parent: ")
    assert text in mistake
