"""The supervisor from its start to its end: signals, orphans, its server, its neighbours."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from supervisor_peer import PATIENCE_S, wait_dead
from supervisor_process import (
    MODE_AND_SLOW_MODE,
    SUPERVISOR,
    command,
    run_again,
    running_supervisor,
    shell,
)

# All three processes are there when the line is.
TREE = "trap '' TERM; sleep 1000 & setsid sleep 1000 & echo $!; wait"


@pytest.fixture(params=MODE_AND_SLOW_MODE)
def root(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_in_order(root: bool, number: int) -> None:
    """Jobs die, are reported, and nothing is left: no process, group, directory or socket."""
    with running_supervisor(shell("tree", TREE, root=root), root=root) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("tree")
            daemon = int(job.read(until=b"\n"))
            supervisor.process.send_signal(number)
            assert peer.wait("EXITED", job.id)["status"] == signal.SIGKILL
            assert peer.wait("EMPTIED", job.id)["killed"] >= 3
            assert peer.is_ended()
            assert supervisor.process.wait(PATIENCE_S) == 0
            assert wait_dead(daemon)


@pytest.mark.parametrize(
    "setting",
    [
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    ],
)
def test_whatever_its_parent_does_about_signals(root: bool, setting: str) -> None:
    """It learns of its children's ends, and hears SIGTERM."""
    start = f"import os, signal, sys; {setting}; os.execv(sys.argv[1], sys.argv[1:])"
    program = [sys.executable, "-c", start, sys.executable, "-I", "-S", "-E", str(SUPERVISOR)]
    text = shell("seven", "exit 7", root=root)
    with running_supervisor(text, root=root, program=program) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            exited, _ = peer.end(peer.start("seven"))
            assert os.waitstatus_to_exitcode(exited["status"]) == 7
            assert supervisor.stop() == 0


def test_starts_are_refused_while_it_stops(root: bool) -> None:
    """A START that comes too late never runs."""
    with running_supervisor(shell("tree", TREE, root=root), root=root) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            peer.start("tree")
            os.kill(supervisor.process.pid, signal.SIGSTOP)
            job_id = peer.request("tree")
            os.kill(supervisor.process.pid, signal.SIGTERM)
            os.kill(supervisor.process.pid, signal.SIGCONT)
            # Either it was refused, or it was started before and is ended.
            answer = peer.wait(("STARTED", "REFUSED"), job_id)
            if answer["type"] == "STARTED":
                peer.wait("EMPTIED", job_id)
            assert supervisor.process.wait(PATIENCE_S) == 0


def test_the_end_of_its_parent_ends_it(root: bool) -> None:
    """--parent-fd: at its end of file, the library's process is gone."""
    with running_supervisor(shell("tree", TREE, root=root), root=root) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("tree")
            os.close(supervisor.parent_end)
            assert wait_dead(job.pid)
            assert supervisor.process.wait(PATIENCE_S) == 0


def test_the_end_of_the_librarys_connection_ends_it(root: bool) -> None:
    """Without a server to restart, the connection is the library's life."""
    with running_supervisor(shell("tree", TREE, root=root), root=root) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("tree")
        assert wait_dead(job.pid)
        assert supervisor.process.wait(PATIENCE_S) == 0


def test_nobody_comes(root: bool) -> None:
    """Without a server for orphan_timeout_s it ends with 1."""
    with running_supervisor("", root=root, orphan_timeout_s=1.0) as supervisor:
        supervisor.expected_exit = 1
        assert supervisor.process.wait(PATIENCE_S) == 1
        assert "no server for 1 s" in supervisor.log


def test_a_killed_supervisor_leaves_no_tree_in_user_mode() -> None:
    """Subreapers end their trees when the supervisor is gone."""
    with running_supervisor(shell("tree", TREE, root=False), root=False) as supervisor:
        supervisor.expected_exit = -signal.SIGKILL
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("tree")
            daemon = int(job.read(until=b"\n"))
            supervisor.process.kill()
            assert wait_dead(job.pid)
            assert wait_dead(daemon)
            assert peer.is_ended()


@pytest.mark.root
def test_what_a_welcome_brings_ends_all_jobs() -> None:
    """Also one that the server was not told of, as when the supervisor dies while it starts."""
    with running_supervisor(shell("tree", TREE, root=True)) as supervisor:
        with supervisor.connect() as peer:
            message = peer.hello()
            fds = dict(zip(message["fds"], message["_fds"], strict=True))
            if "kill" not in fds:
                pytest.skip("pure cgroup v1 has no cgroup.kill")
            jobs = [peer.start("tree") for _ in range(2)]
            daemons = [int(job.read(until=b"\n")) for job in jobs]
            os.write(fds["kill"], b"1")
            assert all(wait_dead(pid) for pid in daemons)
            for job in jobs:
                assert peer.end(job)[0]["status"] == signal.SIGKILL


@pytest.mark.root
def test_the_next_supervisor_sweeps(tmp_path: Path) -> None:
    """Jobs, groups and directories of one that was killed are gone before the next accepts."""
    with running_supervisor(shell("tree", TREE, root=True)) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("tree")
            daemon = int(job.read(until=b"\n"))
            supervisor.process.kill()
            supervisor.process.wait()
        assert (supervisor.directory / "work" / job.id).is_dir()
        ready_read, ready_write = os.pipe()
        config = str(supervisor.directory / "penstockd.toml")
        with subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", "-E", str(SUPERVISOR)),
                *("--config", config, "--no-server", "--ready-fd", str(ready_write)),
            ],
            pass_fds=[ready_write],
            stderr=subprocess.PIPE,
        ) as following:
            os.close(ready_write)
            try:
                assert os.read(ready_read, 1) == b"R"
                assert wait_dead(daemon)
                assert [path.name for path in supervisor.groups() if path.name == job.id] == []
                assert list((supervisor.directory / "work").iterdir()) == []
            finally:
                os.close(ready_read)
                following.terminate()
            _, errors = following.communicate(timeout=PATIENCE_S)
            assert b"removed the groups of 1 jobs of an earlier life" in errors
            assert following.returncode == 0
        supervisor.expected_exit = -signal.SIGKILL


def test_another_one_on_the_same_directories_is_refused(root: bool) -> None:
    """It would sweep the first one's jobs: it ends with 2, and the first goes on."""
    with running_supervisor(command("true", "/bin/true", root=root), root=root) as supervisor:
        done = run_again(supervisor)
        assert done.returncode == 2
        assert b"another penstockd uses" in done.stderr
        with supervisor.connect() as peer:
            peer.hello()
            peer.end(peer.start("true"))


@pytest.mark.slow
@pytest.mark.root
def test_another_one_on_the_same_groups_is_refused() -> None:
    """Even with directories of its own."""
    with running_supervisor("") as supervisor:
        config = supervisor.directory / "penstockd.toml"
        other = supervisor.directory / "other.toml"
        text = config.read_text()
        for name in ("run", "work", "state"):
            text = text.replace(f"{supervisor.directory}/{name}", f"{supervisor.directory}/{name}2")
        other.write_text(text)
        done = run_again(supervisor, other)
        assert done.returncode == 2
        assert b"cgroup_parent: another penstockd uses" in done.stderr


def test_every_mistake_is_named() -> None:
    """A policy with mistakes is refused whole, with 2."""
    with running_supervisor("", root=False) as supervisor:
        policy = supervisor.directory / "policy.toml"
        text = policy.read_text()
        policy.write_text(
            text
            + command("gone", "/nowhere/program", root=False)
            + command("script", "/etc/passwd", root=False)
            + command("open", "/bin/ls", root=False, extra='arguments = [{path={root="/tmp"}}]\n')
            + command("lost", "/bin/true", root=False, extra='workdir = "/nowhere"\n')
        )
        done = run_again(supervisor)
        assert done.returncode == 2
        for name in ("gone.path", "script.path", "open.arguments", "lost.workdir"):
            assert f"commands.{name}".encode() in done.stderr
