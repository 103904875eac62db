"""penstockd starts although its disk is full, of what its jobs have left or of other things."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import fill_bytes, fill_inodes, loop_disk
from supervisor_peer import PATIENCE_S
from supervisor_process import SUPERVISOR, Supervisor, running_supervisor, shell

pytestmark = pytest.mark.root

# Both go on until nothing more fits, and then hold it.
BYTES = "fallocate -l 4M 0; i=1; while fallocate -l 4M $i; do i=$((i+1)); done; "
BYTES += "i=0; while echo x >> rest; do :; done; echo full; sleep 1000"
# ext4 says for a moment that nothing fits while its journal holds what was just freed or asked for.
INODES = "i=0; n=0; while [ $n -lt 5 ]; do if true > $i; then i=$((i+1)); n=0; "
INODES += "else n=$((n+1)); sleep 0.2; fi; done; echo full; sleep 1000"
UNLIMITED = 'class = "filling"\n'
CLASS = """
[classes.filling]
needs = { all = "best_effort" }
output = "unlimited"
"""


@pytest.fixture
def disk() -> Iterator[Path]:
    with loop_disk() as disk:
        yield disk


@pytest.mark.parametrize("script", [BYTES, INODES], ids=["bytes", "inodes"])
def test_what_a_job_has_filled_is_swept_before_room_is_needed(disk: Path, script: str) -> None:
    """Supervisor killed, the job runs on and holds all of the disk: the next one comes up."""
    commands = CLASS + shell("fill", script, root=True, extra=UNLIMITED)
    with running_supervisor(commands, work_root=str(disk / "work")) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("fill")
            job.read(until=b"full\n")
            with pytest.raises(OSError, match="No space left"):
                (disk / "anything").mkdir()
            supervisor.process.kill()
            supervisor.process.wait()
        supervisor.expected_exit = -signal.SIGKILL
        said = come_up(supervisor)
        assert "removed the groups of 1 jobs" in said
        assert list((disk / "work").iterdir()) == []


@pytest.mark.parametrize("what", ["bytes", "inodes"])
def test_what_fills_it_is_not_ours_to_remove(disk: Path, what: str) -> None:
    """It starts all the same: its tries of isolation find room elsewhere."""
    with running_supervisor("", work_root=str(disk / "work")) as supervisor:
        assert supervisor.stop() == 0
        filled = fill_inodes(disk) if what == "inodes" else fill_bytes(disk)
        with pytest.raises(OSError, match="No space left"):
            (disk / "anything").mkdir()
        said = come_up(supervisor)
        assert "ready" in said
        assert "could not be tried" not in said
        assert filled.exists()


def test_a_start_that_finds_no_room_is_refused(disk: Path) -> None:
    """C59: it says the stage and the reason, and leaves nothing. What runs already runs on."""
    commands = shell("wait", "read x; exit 7", root=True, extra="stdin = true\n")
    with running_supervisor(commands, work_root=str(disk / "work")) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("wait", stdin=True)
            before = sorted((disk / "work").iterdir())
            filled = fill_inodes(disk)
            refused = peer.refused("wait")
            found = refused["fault"], refused["stage"], refused["errno"]
            assert found == ("failed", "directory", errno.ENOSPC)
            assert str(disk) not in refused["message"]
            assert sorted((disk / "work").iterdir()) == before
            os.write(job.fds["stdin"], b"\n")
            assert os.waitstatus_to_exitcode(peer.end(job)[0]["status"]) == 7
            shutil.rmtree(filled)
            second = peer.start("wait", stdin=True)
            os.write(second.fds["stdin"], b"\n")
            peer.end(second)


def come_up(supervisor: Supervisor) -> str:
    """The next one, until it is ready, and its end; what it has said."""
    ready_read, ready_write = os.pipe()
    try:
        following = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", "-E", str(SUPERVISOR), "--no-server"),
                *("--ready-fd", str(ready_write)),
                *("--config", str(supervisor.directory / "penstockd.toml")),
            ],
            stderr=subprocess.PIPE,
            pass_fds=(ready_write,),
        )
        os.close(ready_write)
        ready = os.read(ready_read, 1)
    finally:
        os.close(ready_read)
    following.terminate()
    _, errors = following.communicate(timeout=PATIENCE_S)
    assert (ready, following.returncode) == (b"R", 0), errors.decode()
    return errors.decode()
