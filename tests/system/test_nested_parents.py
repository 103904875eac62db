"""A cgroup_parent that is inside another penstockd's tree, or around it, is refused."""

import fcntl
import os
from pathlib import Path

import pytest
from supervisor_process import Supervisor, run_again, running_supervisor, shell
from this_run import new_group

from penstock.supervisor.cgroups import locked_around, locked_below

pytestmark = pytest.mark.root
WAIT = shell("wait", "echo ready; exec sleep 1000", root=True)


def other_config(supervisor: Supervisor, parent: str) -> Path:
    """Of a second one, which shares nothing but the mounts."""
    text = (supervisor.directory / "penstockd.toml").read_text()
    for name in ("run", "work", "state"):
        text = text.replace(f"{supervisor.directory}/{name}", f"{supervisor.directory}/{name}2")
    other = supervisor.directory / "other.toml"
    other.write_text(text.replace(f'"{supervisor.cgroup_parent}"', f'"{parent}"'))
    return other


def test_inside_and_around_another_ones_tree() -> None:
    """In a client's group, where it would end that client's jobs; in one of its own; above."""
    clients = '[clients.alice]\ncommands = ["wait"]\n'
    above = new_group("nested")
    with running_supervisor(WAIT, clients=clients, cgroup_parent=f"{above}/first") as supervisor:
        supervisor.cgroup_parent = f"{above}/first"
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("wait")
            job.read(until=b"ready\n")
            before = supervisor.groups()
            for parent, text in (
                (f"{above}/first/client-alice", b"is inside"),
                (f"{above}/first/client-alice/{job.id}", b"is inside"),
                (f"{above}/first/new/group", b"is inside"),
                (above, b"is around"),
            ):
                done = run_again(supervisor, other_config(supervisor, parent))
                assert done.returncode == 2
                assert text in done.stderr, done.stderr
                assert b"Name a group beside it" in done.stderr
            assert supervisor.groups() == before, "nothing is made there"
            os.kill(job.pid, 0)
            peer.send("KILL", id=job.id)
            peer.end(job)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] in ("cgroup", "cgroup2"):
            left = Path(fields[4] + above)
            if left.is_dir():
                left.rmdir()


def test_what_is_locked(tmp_path: Path) -> None:
    """Above and below, of directories that are there and that are not yet."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    try:
        before = locked_around(str(tmp_path / "a"))  # the run of tests has a lock of its own
        assert locked_around(str(tmp_path / "a" / "b")) == before
        fcntl.flock(fd, fcntl.LOCK_EX)
        for inside in ("b", "b/c/d", "x"):
            assert locked_around(str(tmp_path / "a" / inside)) == str(tmp_path / "a")
        assert locked_around(str(tmp_path / "a")) == before
        assert locked_below(str(tmp_path)) == str(tmp_path / "a")
        assert locked_below(str(tmp_path / "a")) is None
        assert locked_below(str(tmp_path / "none")) is None
    finally:
        os.close(fd)
    assert locked_around(str(tmp_path / "a" / "b")) == before
