"""A run of tests leaves nothing, whatever ends it: tools/_test_run.py and tools/_warden.py."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _test_run
import pytest
from _test_run import Run, create_run, remove_dead_runs, remove_run
from patience import patient
from running import IS_ROOT, JOB_UID
from supervisor_peer import wait_dead

TOOLS = Path(__file__).resolve().parents[2] / "tools"

# A run that has started what tests do: a daemon with no mark but its parents, a process with the
# run's variable alone, and a file. Says their pids, then does what it is told to.
PROGRAM = """
import os, signal, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from _test_run import Run, create_run
from _warden import run_guarded

run = create_run()

def work():
    script = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!"
    daemon = subprocess.run(["/bin/sh", "-c", script], capture_output=True, env={}, cwd="/")
    marked = subprocess.Popen(["sleep", "1000"], env={**os.environ, **run.environ()})
    (run.directory / "penstock-file").touch()
    print(run.name, os.getpid(), int(daemon.stdout), marked.pid, flush=True)
    if sys.argv[2] == "wait":
        time.sleep(1000)
    return int(sys.argv[2])

sys.exit(run_guarded(run, work))
"""


class Guarded:
    """A run in processes of its own, once it has begun."""

    def __init__(self, what: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(TOOLS), what],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        name, *pids = self.process.stdout.readline().split()
        self.run = Run(name)
        self.inner, self.daemon, self.marked = map(int, pids)

    def ended(self) -> tuple[int, str]:
        """Exit status and standard error, once all that it started is gone with it."""
        _, errors = self.process.communicate(timeout=patient(30))
        for pid in (self.inner, self.daemon, self.marked):
            assert wait_dead(pid), pid
        assert not self.run.directory.exists()
        return self.process.returncode, errors


def test_who_ends_by_itself_and_leaves_something_fails() -> None:
    """All of it is removed and named; a status of its own stays."""
    status, errors = Guarded("0").ended()
    assert status == 1
    assert "FAILED tests have left something behind" in errors
    assert "processes (2): " in errors
    assert "penstock-file" in errors
    assert Guarded("3").ended()[0] == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_all_of_it(number: signal.Signals) -> None:
    """The status says which; nothing is said to be wrong."""
    guarded = Guarded("wait")
    guarded.process.send_signal(number)
    assert guarded.ended() == (128 + number, "")


def test_the_death_of_the_outer_process_ends_all_of_it() -> None:
    """kill -9 of what the user started: the inner one removes everything."""
    guarded = Guarded("wait")
    guarded.process.kill()
    assert guarded.ended()[0] == -signal.SIGKILL


def test_the_death_of_the_inner_process_ends_all_of_it() -> None:
    """kill -9 of what does the work: the outer one removes everything, and says so."""
    guarded = Guarded("wait")
    os.kill(guarded.inner, signal.SIGKILL)
    status, errors = guarded.ended()
    assert status == 128 + signal.SIGKILL
    assert "ended by SIGKILL; removed what it had left" in errors


def test_what_a_run_left_whose_processes_were_all_killed_is_removed_by_the_next() -> None:
    """Both watchers at once; a run that is alive is not touched."""
    alive, dead = Guarded("wait"), Guarded("wait")
    os.kill(dead.process.pid, signal.SIGSTOP)
    os.kill(dead.inner, signal.SIGSTOP)
    for pid in (dead.process.pid, dead.inner):
        os.kill(pid, signal.SIGKILL)
    dead.process.wait(patient(10))
    assert wait_dead(dead.inner)
    assert not list(remove_dead_runs(alive.run.name))
    assert alive.run.directory.exists()
    ((run, left),) = remove_dead_runs(dead.run.name)
    assert run.name == dead.run.name
    assert f"{dead.marked} sleep 1000" in left.processes
    assert wait_dead(dead.marked)
    assert not dead.run.directory.exists()
    os.kill(dead.daemon, signal.SIGKILL)  # without any mark it is only found by who adopts it
    dead.process.communicate()
    alive.process.terminate()
    alive.ended()


@pytest.fixture
def run() -> Iterator[Run]:
    run = create_run()
    yield run
    remove_run(run)
    os.close(run.lock)


def sleeper(run: Run, user: int | None, *command: str, **options: Any) -> subprocess.Popen[bytes]:
    """In the run's directory, without a variable of ours; ``user`` counts as root alone."""
    if IS_ROOT and user is not None:
        options |= {"user": user, "group": user, "extra_groups": []}
    words = [*command, "sleep", "1000"]
    process = subprocess.Popen(words, cwd=run.directory, env={"PATH": os.defpath}, **options)
    deadline = time.monotonic() + patient(10)
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(b"sleep"):
        assert time.monotonic() < deadline
        time.sleep(0.01)  # nothing says that a process has executed another program
    return process


def test_a_process_in_the_runs_directory_is_found(run: Run) -> None:
    """An ordinary user's job has no variable and no group of the run's, but works there."""
    process = sleeper(run, JOB_UID, start_new_session=True)
    left = remove_run(run)
    assert process.wait(patient(10)) == -signal.SIGKILL
    assert left.processes == [f"{process.pid} sleep 1000"]


@pytest.mark.root
def test_other_users_who_look_at_the_directory_are_left_alone(run: Run) -> None:
    """Also without a terminal: an editor, a backup, a shell over ssh."""
    process = sleeper(run, 23456, start_new_session=True)
    try:
        assert not remove_run(run).processes
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ["", "0123456", "0123456789", "0123-567", "0123456g"])
def test_only_names_of_runs_are_taken_for_runs(name: str) -> None:
    """A directory of any other name is somebody's own."""
    path = _test_run._PLACE / f"penstock-run-{name}"
    path.mkdir()
    try:
        assert not list(remove_dead_runs(name))
        assert path.is_dir()
    finally:
        path.rmdir()


def test_directories_of_any_depth_are_removed(run: Run) -> None:
    """Deeper than Python's recursion, and than a path may be long."""
    fd = os.open(run.directory, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    assert not remove_run(run).stubborn
    assert not run.directory.exists()


@pytest.mark.root
def test_groups_with_frozen_members_are_emptied_and_removed(run: Run) -> None:
    """In each hierarchy; on v1 a frozen process does not even die of SIGKILL."""
    with contextlib.ExitStack() as stack:
        made = []
        for mount, kind in _test_run._mounts():
            group = Path(mount, f"{run.prefix}group", "below")
            if not kind.startswith("cgroup") or not os.access(mount, os.W_OK):
                continue
            group.mkdir(parents=True)
            if (group / "cpuset.cpus").exists():  # no process can enter one without processors
                for each in (group.parent, group):
                    for name in ("cpuset.cpus", "cpuset.mems"):
                        (each / name).write_text((Path(mount) / name).read_text())
            process = subprocess.Popen(["sleep", "1000"])
            stack.callback(process.wait)
            with contextlib.suppress(OSError):  # a group of v2 that controllers are on for
                (group / "cgroup.procs").write_text(str(process.pid))
                made.append(str(process.pid))
            for name, text in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
                if (group / name).exists():
                    (group / name).write_text(text)
        assert made
        left = remove_run(run)
        assert sorted(each.split()[0] for each in left.processes) == sorted(made)
        assert not left.stubborn
        assert not list(_test_run._groups(run))


@pytest.mark.root
def test_mounts_are_removed_the_newest_first(run: Run) -> None:
    """One over another, and one with a space in its name."""
    place = run.directory / "a place"
    place.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    for _ in range(2):
        assert libc.mount(b"none", str(place).encode(), b"tmpfs", 0, None) == 0
    assert remove_run(run).mounts == [str(place)] * 2
    assert not run.directory.exists()


def test_a_shell_that_looks_at_the_directory_is_left_alone(run: Run) -> None:
    """Who has a terminal and is there is a person."""
    ours, theirs = os.openpty()
    process = sleeper(run, JOB_UID, "setsid", "--ctty", stdin=theirs)
    try:
        assert not remove_run(run).processes
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
