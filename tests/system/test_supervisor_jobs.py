"""What becomes of a job's processes, as root in cgroups, otherwise below subreapers."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import patient
from supervisor_peer import Peer, Started, wait_dead
from supervisor_process import MODE_AND_SLOW_MODE, command, running_supervisor, shell

from penstock.policy.decision import MAX_TIMEOUT_S

# A daemon in a session of its own that ignores TERM and keeps the job's output open.
DAEMON = "trap '' TERM; setsid sleep 1000 & setsid sh -c 'trap \"\" TERM; sleep 1000' &"
COMMANDS = {
    "exit3": "exit 3",
    "suicide": "kill -TERM $$",
    "words": "echo out; echo err >&2",
    "leave": f"{DAEMON} echo $!",
    "tree": f"{DAEMON} d=$!; (sleep 1000) & sleep 1000 & echo $d; wait",
    "deaf": "trap '' TERM; echo ready; sleep 1000 & wait; wait; sleep 1000",
    "sleep": "echo ready; exec sleep 1000",
    "stopped": "echo ready; kill -STOP $$",
    "bomb": "echo ready; b() { b & b & wait; }; b 2>/dev/null",
}


def commands(root: bool) -> str:
    # So long, because the shell must have set its trap before it ends.
    timeout = f'timeout = "{patient(0.5) * 1000:.0f}ms"\n'
    extra = {"deaf": 'grace = "100ms"\n' + timeout, "bomb": 'class = "small"\n'}
    extra["sleep"] = 'timeout = "1h"\n'
    text = "".join(
        shell(name, script, root=root, extra=extra.get(name, ""))
        for name, script in COMMANDS.items()
    )
    return text + shell(
        "merged", "echo 1; echo 2 >&2; echo 3", root=root, extra="merge_stderr=true"
    )


@pytest.fixture(params=MODE_AND_SLOW_MODE)
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with running_supervisor(commands(request.param), root=request.param) as supervisor:
        supervisor.expected_exit = 0
        with supervisor.connect() as peer:
            peer.hello()
            yield peer


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def signaled(status: int) -> int:
    assert os.WIFSIGNALED(status)
    return os.WTERMSIG(status)


def test_an_exit_status_is_reported(peer: Peer) -> None:
    """EXITED carries the status of wait(2), and EMPTIED follows with nobody killed."""
    exited, emptied = peer.end(peer.start("exit3"))
    assert os.WEXITSTATUS(exited["status"]) == 3
    assert exited["timed_out"] is False
    assert exited["rusage"]["user_s"] >= 0
    assert emptied["killed"] == 0
    assert emptied["counters"]["cpu_total_s"] > 0


def test_a_signal_is_reported(peer: Peer) -> None:
    """A job that dies by a signal has that signal in its status."""
    exited, _ = peer.end(peer.start("suicide"))
    assert signaled(exited["status"]) == signal.SIGTERM


def test_stdout_and_stderr_are_two_pipes(peer: Peer) -> None:
    """Each has its own pipe, read to its end."""
    job = peer.start("words")
    assert (job.read("stdout"), job.read("stderr")) == (b"out\n", b"err\n")
    peer.end(job)


def test_merged_output_is_one_pipe(peer: Peer) -> None:
    """merge_stderr gives one pipe and the exact order."""
    job = peer.start("merged")
    assert "stderr" not in job.fds
    assert job.read() == b"1\n2\n3\n"
    peer.end(job)


def test_started_names_the_process(peer: Peer) -> None:
    """pid and start time are those of the running program, and argv is what it got."""
    job = peer.start("sleep")
    job.read(until=b"ready")
    fields = Path(f"/proc/{job.pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert int(fields[19]) == job.message["start_ticks"]
    assert job.message["argv"] == ["/bin/sh", "-c", COMMANDS["sleep"]]
    peer.send("KILL", id=job.id)
    peer.end(job)


def test_leftovers_are_killed_when_the_main_process_ends(peer: Peer) -> None:
    """Daemons that hold stdout and ignore TERM end with the job, so its pipes do too."""
    job = peer.start("leave")
    exited, emptied = peer.end(job)
    assert os.WEXITSTATUS(exited["status"]) == 0
    assert emptied["killed"] >= 2
    daemon = int(job.read())
    assert not alive(daemon)


def test_kill_ends_the_whole_tree(peer: Peer) -> None:
    """KILL reaches children, grandchildren and sessions of their own."""
    job = peer.start("tree")
    daemon = int(job.read(until=b"\n"))
    peer.send("KILL", id=job.id)
    assert peer.wait("KILLED", job.id)["count"] >= 4
    exited, emptied = peer.end(job)
    assert signaled(exited["status"]) == signal.SIGKILL
    assert emptied["killed"] >= 4
    assert not alive(daemon)
    assert not alive(job.pid)


def test_a_stopped_process_is_killed(peer: Peer) -> None:
    """SIGSTOP saves nobody."""
    job = peer.start("stopped")
    job.read(until=b"ready")
    peer.send("KILL", id=job.id)
    exited, _ = peer.end(job)
    assert signaled(exited["status"]) == signal.SIGKILL


@pytest.mark.root
def test_a_fork_bomb_is_killed() -> None:
    """KILL of a bomb that fills its class's processes leaves nobody."""
    with running_supervisor(commands(True)) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("bomb")
        job.read(until=b"ready")
        peer.send("KILL", id=job.id)
        peer.end(job)


def test_a_fork_bomb_without_cgroups_is_killed() -> None:
    """The subreaper stops whom it finds until nobody new appears; bounded here by RLIMIT_NPROC."""
    script = "ulimit -p 150; echo ready; b() { b & b & wait; }; b 2>/dev/null; sleep 1000"
    text = shell("bomb", script, root=False)
    with running_supervisor(text, root=False) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("bomb")
        job.read(until=b"ready")
        peer.send("KILL", id=job.id)
        exited, _ = peer.end(job)
        assert exited["status"] == signal.SIGKILL
        assert alive(job.pid) is False


def test_signal_reaches_the_main_process(peer: Peer) -> None:
    """SIGNAL goes to the main process alone, and to nobody once it has ended."""
    job = peer.start("sleep")
    job.read(until=b"ready")
    peer.send("SIGNAL", id=job.id, signal=signal.SIGUSR1)
    assert peer.wait("SIGNALED", job.id)["count"] == 1
    exited, _ = peer.end(job)
    assert signaled(exited["status"]) == signal.SIGUSR1
    peer.send("SIGNAL", id=job.id, signal=signal.SIGUSR1)
    assert peer.wait("SIGNALED", job.id)["count"] == 0


def test_unknown_ids_count_nobody(peer: Peer) -> None:
    """KILL, SIGNAL and RELEASE of a job that is not there are no error."""
    nobody = "0" * 32
    peer.send("RELEASE", id=nobody)
    peer.send("KILL", id=nobody)
    assert peer.wait("KILLED", nobody)["count"] == 0
    peer.send("SIGNAL", id=nobody, signal=15)
    assert peer.wait("SIGNALED", nobody)["count"] == 0


def test_a_timeout_of_the_policy_ends_a_deaf_job(peer: Peer) -> None:
    """TERM at the deadline, KILL after the grace, and EXITED says so."""
    exited, _ = peer.end(peer.start("deaf"))
    assert exited["timed_out"] is True
    assert signaled(exited["status"]) == signal.SIGKILL


def test_a_shorter_timeout_of_the_request_counts(peer: Peer) -> None:
    """The effective timeout is the shorter one; TERM alone ends this job."""
    exited, _ = peer.end(peer.start("sleep", timeout_s=0.05))
    assert exited["timed_out"] is True
    assert signaled(exited["status"]) == signal.SIGTERM


def test_a_timeout_of_months_is_no_error(peer: Peer) -> None:
    """It exceeds what one epoll_wait can take. The longest is a year, in both processes."""
    job = peer.start("words", timeout_s=MAX_TIMEOUT_S)
    peer.end(job)
    answer = peer.refused("words", timeout_s=1e300)
    assert answer["message"].startswith("timeout_s is 1e+300; it must be between 0 and ")


def test_release_of_a_running_job_ends_it(peer: Peer) -> None:
    """Nobody wants to know of it any more: it dies, and its directory goes."""
    job = peer.start("sleep")
    peer.send("RELEASE", id=job.id)
    assert wait_dead(job.pid)
    peer.wait("EMPTIED", job.id)
    again = peer.start("exit3")
    peer.end(again)


def test_many_jobs_at_once(peer: Peer) -> None:
    """Messages of jobs interleave; each job's own are in order and none is lost."""
    jobs: list[Started] = [peer.start("words") for _ in range(20)]
    for job in jobs:
        peer.end(job)


def test_a_job_directory_is_its_own_and_goes_with_it() -> None:
    """Full of unreadable directories, it is removed all the same."""
    script = "pwd; mkdir -p a/b; touch a/b/c; ln -s / a/root; chmod 0 a/b a; exit 0"
    text = shell("litter", script, root=False)
    with running_supervisor(text, root=False) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("litter")
        directory = Path(job.read().decode().strip())
        assert directory == supervisor.directory / "work" / job.id
        peer.end(job)
    # That the work root is empty at the end is what running_supervisor checks.


def test_a_killed_subreaper_leaves_no_tree() -> None:
    """A job that kills its subreaper is the supervisor's then: it ends, its status unknown."""
    script = "setsid sleep 1000 & trap 'kill -KILL $PPID' USR1; echo $!; wait; sleep 1000"
    text = shell("parricide", script, root=False) + command("true", "/bin/true", root=False)
    with running_supervisor(text, root=False) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("parricide")
        daemon = int(job.read(until=b"\n"))
        peer.send("SIGNAL", id=job.id, signal=signal.SIGUSR1)
        exited, _ = peer.end(job)
        assert exited["status"] is None
        assert not alive(daemon)
        assert not alive(job.pid)
        peer.end(peer.start("true"))


@pytest.mark.parametrize("way", ["a stop", "KILL"])
def test_a_stopped_subreaper_holds_up_no_end(way: str) -> None:
    """C36: the job has stopped it. A stop's signal is heard all the same, and KILL is done."""
    traps = "trap 'exit 7' TERM; trap 'kill -STOP $PPID; echo stopped' USR1"
    script = f"{traps}; echo ready; while :; do sleep 0.05; done"
    with (
        running_supervisor(shell("halting", script, root=False), root=False) as supervisor,
        supervisor.connect() as peer,
    ):
        peer.hello()
        job = peer.start("halting")
        job.read(until=b"ready")
        peer.send("SIGNAL", id=job.id, signal=signal.SIGUSR1)
        job.read(until=b"stopped")
        if way == "KILL":
            peer.send("KILL", id=job.id)
        else:
            peer.send("SIGNAL", id=job.id, signal=signal.SIGTERM, tree=False, kill_after_s=600.0)
        exited, _ = peer.end(job)
        if way == "KILL":
            assert signaled(exited["status"]) == signal.SIGKILL
        else:
            assert os.WEXITSTATUS(exited["status"]) == 7
        assert exited["escalated"] is False
        assert not alive(job.pid)
