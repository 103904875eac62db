"""penstockd's own rlimits, where it may not raise them: what it says of that."""

import os

import pytest

from penstock.supervisor.job import rlimits


@pytest.mark.parametrize(("uid", "remedy"), [(0, "with CAP_SYS_RESOURCE"), (1000, "as root")])
def test_what_is_to_be_done_can_be_done(
    monkeypatch: pytest.MonkeyPatch, uid: int, remedy: str
) -> None:
    """Root in a container is not told to be root."""
    monkeypatch.setattr(rlimits, "_raise", lambda name, wanted: (1, 1))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    (*_, jobs) = rlimits.raise_own((), 1)
    assert jobs.startswith("no job gets more than ")
    assert jobs.endswith(f"; start it with higher ones, or {remedy}")
