"""A process in an uninterruptible sleep, made by a file system that does not answer: row 31."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from running import JOB_UID
from stuck_mount import StuckMount, stuck_mount
from this_run import group, new_directory

from penstock.jobs.backends.base import JobSpec
from penstock.jobs.job_errors import Precondition
from penstock.jobs.standalone import open_local
from penstock.jobs.states import JobState

pytestmark = pytest.mark.root

POLICY = f"""
[classes.free]
needs = {{ all = "best_effort" }}
[commands.look]
path = "/bin/cat"
class = "free"
user = "{JOB_UID}"
isolation = "none"  # or it has a /var/tmp of its own
fixed = ["%s/x"]
"""


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A directory that jobs of other users can come through."""
    directory = new_directory("unkillable")
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def mount(public_dir: Path) -> Iterator[StuckMount]:
    (public_dir / "stuck").mkdir(mode=0o755)
    try:
        with stuck_mount(public_dir / "stuck") as mount:
            yield mount
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")


def parent() -> str:
    return group("unkillable")


@pytest.mark.slow
async def test_who_survives_kill_is_named_with_what_it_waits_for(
    mount: StuckMount, public_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """UNKILLABLE at the bound, with pid, name, state D and wait channel; the job keeps its place
    and ends when it wakes."""
    monkeypatch.setattr("penstock.jobs.stop.UNKILLABLE_S", 0.2)
    policy = public_dir / "policy.toml"
    policy.write_text(POLICY % mount.path)
    async with open_local(policy, public_dir / "state", cgroup_parent=parent()) as manager:
        job = await manager.start("alice", JobSpec("look"))
        await trio.to_thread.run_sync(mount.wait_asked)
        with pytest.raises(Precondition) as caught:
            await job.stop(by="alice", grace_s=0.05)
        assert caught.value.reason == "UNKILLABLE"
        expected = f"{job.started.pid} (cat, state D in "
        assert caught.value.about["processes"].startswith(expected), caught.value.about
        assert "fuse" in caught.value.about["processes"] or "request_wait" in str(caught.value)
        assert job.state is JobState.STOPPING
        assert manager.list("alice") == [job]
        mount.wake()
        end = await job.wait_finished()
        assert (end.reason, end.escalated) == ("stopped", True)
        assert manager.list("alice") == []


@pytest.mark.slow
async def test_a_job_that_cannot_stand_still_is_not_paused(
    mount: StuckMount, public_dir: Path
) -> None:
    """The kernel freezes nobody in such a sleep: it is said at a bound, and the job runs on."""
    policy = public_dir / "policy.toml"
    policy.write_text(POLICY % mount.path)
    async with open_local(policy, public_dir / "state", cgroup_parent=parent()) as manager:
        job = await manager.start("alice", JobSpec("look"))
        await trio.to_thread.run_sync(mount.wait_asked)
        with pytest.raises(Precondition, match="stood still within 2 s") as caught:
            await job.set_paused(True)
        assert caught.value.reason == "NOT_PAUSED"
        assert not job.paused
        mount.wake()
        assert (await job.wait_finished()).reason == "exited"
