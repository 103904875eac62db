"""SIGNAL to a tree, PAUSE, INSPECT, CLOSE_INPUT: as root with cgroups and as an ordinary user."""

import os
import signal
from collections.abc import Iterator

import pytest
from supervisor_peer import Peer, Started
from supervisor_process import MODE_AND_SLOW_MODE, Supervisor, running_supervisor, shell

CHILD = "setsid sh -c 'trap \"echo got\" USR1; echo ready; while :; do sleep 0.05; done' &"
COMMANDS = {
    "tree": f"trap 'echo got' USR1; {CHILD} {CHILD} while :; do sleep 0.05; done",
    "sleep": "echo ready; exec sleep 1000",
    "cat": "exec cat",
    "deaf": "trap '' TERM; trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done",
}
EXTRA = {
    "cat": "stdin = true\n",
    "deaf": 'stop_signal = "INT"\ntimeout = "300ms"\ngrace = "1m"\n',
}
NOBODY = "0" * 32


def commands(root: bool) -> str:
    return "".join(
        shell(name, script, root=root, extra=EXTRA.get(name, ""))
        for name, script in COMMANDS.items()
    )


@pytest.fixture(params=MODE_AND_SLOW_MODE)
def supervisor(request: pytest.FixtureRequest) -> Iterator[Supervisor]:
    with running_supervisor(commands(request.param), root=request.param) as supervisor:
        yield supervisor


@pytest.fixture
def peer(supervisor: Supervisor) -> Iterator[Peer]:
    with supervisor.connect() as peer:
        peer.hello()
        yield peer


def killed(peer: Peer, job: Started) -> None:
    peer.send("KILL", id=job.id)
    peer.end(job)


def test_a_signal_to_the_tree_reaches_every_process(peer: Peer) -> None:
    """Children in sessions of their own too; the count is of those that it was sent to."""
    job = peer.start("tree")
    job.read(until=b"ready\nready\n")
    peer.send("SIGNAL", id=job.id, signal=signal.SIGUSR1, tree=True)
    count = peer.wait("SIGNALED", job.id)["count"]
    assert 3 <= count <= 6  # each of the three may have a sleep
    job.read(until=b"got\ngot\ngot\n")
    killed(peer, job)
    peer.send("SIGNAL", id=job.id, signal=signal.SIGUSR1, tree=True)
    assert peer.wait("SIGNALED", job.id)["count"] == 0


def test_the_commands_own_signal_comes_at_its_deadline(peer: Peer) -> None:
    """What would be ignored is not sent first."""
    job = peer.start("deaf")
    exited, _ = peer.end(job)
    assert exited["timed_out"] is True
    assert os.waitstatus_to_exitcode(exited["status"]) == 9


def test_started_tells_how_a_job_is_stopped(peer: Peer) -> None:
    """So that a later policy changes nothing for it."""
    job = peer.start("sleep")
    expected = {"stop_signal": 15, "stop_tree": False, "signals": None, "stdin": False}
    assert job.message["control"] == expected
    killed(peer, job)


def test_inspect_names_who_is_left(peer: Peer) -> None:
    """pid, name and state."""
    job = peer.start("sleep")
    job.read(until=b"ready")
    peer.send("INSPECT", id=job.id)
    processes = {each["pid"]: each for each in peer.wait("INSPECTED", job.id)["processes"]}
    shell = os.path.basename(os.path.realpath("/bin/sh"))  # until it executes sleep
    assert processes[job.pid]["name"] in (shell, "sleep")
    assert processes[job.pid]["state"] in ("R", "S", "D")
    killed(peer, job)


def test_what_is_asked_of_nobody_is_answered(peer: Peer) -> None:
    """A job that is not there: no error, and nothing done."""
    peer.send("CLOSE_INPUT", id=NOBODY)
    peer.send("INSPECT", id=NOBODY)
    assert peer.wait("INSPECTED", NOBODY)["processes"] == []
    for paused in (True, False):
        peer.send("PAUSE", id=NOBODY, paused=paused)
        assert peer.wait("PAUSED", NOBODY)["paused"] is False


def test_input_ends_when_the_last_copy_is_closed(peer: Peer) -> None:
    """The supervisor keeps one until CLOSE_INPUT, as somebody may take the job over."""
    job = peer.start("cat", stdin=True)
    assert {"stdin", "input_read", "input_write"} < set(job.fds)
    os.write(job.fds["stdin"], b"some")
    assert job.read(until=b"some") == b"some"
    for name in ("stdin", "input_read", "input_write"):
        peer._fds.remove(job.fds[name])
        os.close(job.fds[name])
    peer.send("SIGNAL", id=job.id, signal=signal.SIGURG)  # it lives: this reaches it
    assert peer.wait("SIGNALED", job.id)["count"] == 1
    peer.send("CLOSE_INPUT", id=job.id)
    exited, _ = peer.end(job)
    assert exited["status"] == 0


def test_input_is_for_commands_that_are_granted_it(peer: Peer) -> None:
    """Checked here again; without it a job reads /dev/null."""
    refused = peer.refused("sleep", stdin=True)
    assert (refused["fault"], "input" in refused["message"]) == ("denied", True)
    job = peer.start("cat")
    assert "stdin" not in job.fds
    assert peer.end(job)[0]["status"] == 0


def test_without_cgroups_nothing_is_paused() -> None:
    """It is said, and the job runs on."""
    with running_supervisor(commands(False), root=False) as supervisor:
        with supervisor.connect() as peer:
            peer.hello()
            job = peer.start("sleep")
            peer.send("PAUSE", id=job.id, paused=True)
            answer = peer.wait("PAUSED", job.id)
            assert answer["paused"] is False
            assert "cannot be paused" in answer["message"]
            killed(peer, job)
        assert "without cgroups" in supervisor.log
