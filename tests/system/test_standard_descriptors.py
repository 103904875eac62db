"""A job's standard descriptors, opened by their names in /dev, as its user."""

import os
import stat
from pathlib import Path

import pytest
from supervisor_peer import Peer
from supervisor_process import MODES, running_supervisor, shell

# As nginx, php-fpm and many a script do.
BY_NAME = (
    "echo a | tee /dev/stderr; echo b >/dev/stdout; echo c >>/dev/stderr; echo d >/proc/self/fd/1"
)
AGAINST = (
    "read x </dev/stdout; echo $?; read x </dev/stderr; echo $?; "
    "(: >/dev/stdin); echo $?; (: <>/dev/stdout); echo $?"
)
WAYS = {
    "plain": "",
    "alone": "pid_namespace = true\n",
    "bare": 'isolation = "none"\n',
    "merged": "merge_stderr = true\n",
    "numbered": 'user = "65531"\n',
    "listed": 'landlock = { read = ["/proc", "/bin", "/usr", "/etc"] }\n',
}


def policy(root: bool) -> str:
    ways = WAYS if root else {name: WAYS[name] for name in ("plain", "bare", "merged")}
    text = "".join(shell(f"name-{way}", BY_NAME, root=False, extra=ways[way]) for way in ways)
    text += shell("against", AGAINST, root=False, extra="stdin = true\n")
    text += shell("read", "cat /dev/stdin; cat /proc/self/fd/0", root=False, extra="stdin = true\n")
    return text + shell("wait", "echo ready; exec sleep 1000", root=False, extra="stdin = true\n")


@pytest.mark.parametrize("root", MODES)
def test_output_by_name(root: bool) -> None:
    """What is opened for writing is the job's own output, however it is isolated."""
    with running_supervisor(policy(root), root=root) as supervisor, supervisor.connect() as peer:
        peer.hello()
        for way in WAYS if root else ("plain", "bare", "merged"):
            job = peer.start(f"name-{way}")
            out = job.read().decode()
            err = job.read("stderr").decode() if "stderr" in job.fds else ""
            peer.end(job)
            if way == "merged":
                assert sorted(out.split()) == ["a", "a", "b", "c", "d"]
            else:
                assert (out, err) == ("a\nb\nd\n", "a\nc\n"), way


@pytest.mark.slow
@pytest.mark.parametrize("root", MODES)
def test_input_by_name(root: bool) -> None:
    """It is read to its end, which comes: nobody in the job has another end of it."""
    with running_supervisor(policy(root), root=root) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("read", stdin=True)
        os.write(job.fds["stdin"], b"given")
        _close_input(peer, job.id, job.fds)
        assert job.read() == b"given"
        peer.end(job)


@pytest.mark.slow
@pytest.mark.parametrize("root", MODES)
def test_no_other_direction(root: bool) -> None:
    """Output that was printed cannot be taken back by its name, nor input be made up."""
    with running_supervisor(policy(root), root=root) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("against", stdin=True)
        codes = job.read().split()
        assert len(codes) == 4
        assert b"0" not in codes, job.read("stderr")
        assert job.read("stderr").count(b"Permission denied") == 4
        _close_input(peer, job.id, job.fds)
        peer.end(job)


@pytest.mark.slow
@pytest.mark.parametrize("root", MODES)
def test_whose_they_are(root: bool) -> None:
    """The job's user's, 0400 and 0200."""
    with running_supervisor(policy(root), root=root) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("wait", stdin=True)
        job.read(until=b"ready")
        found = [Path(f"/proc/{job.pid}/fd/{number}").stat() for number in range(3)]
        assert [stat.S_IMODE(each.st_mode) for each in found] == [0o400, 0o200, 0o200]
        assert {each.st_uid for each in found} == {job.message["uid"]}
        peer.send("KILL", id=job.id)
        peer.end(job)


def _close_input(peer: Peer, job_id: str, fds: dict[str, int]) -> None:
    for name in ("stdin", "input_read", "input_write"):
        peer._fds.remove(fds[name])
        os.close(fds.pop(name))
    peer.send("CLOSE_INPUT", id=job_id)
