"""What a job is when its first instruction runs, as the kernel tells another process."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_peer import Peer, Started, wait_dead
from supervisor_process import (
    IS_ROOT,
    JOB_UID,
    MODE_AND_SLOW_MODE,
    Supervisor,
    command,
    running_supervisor,
    shell,
)


@pytest.fixture(params=MODE_AND_SLOW_MODE)
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Supervisor, Peer, Started]]:
    """A job that runs, as a shell that waits to be killed."""
    extra = 'class = "small"\nenv = { COLOUR = "red", LANG = "C" }\nenv_allowed = ["SHADE"]\n'
    text = shell("show", "env; sleep 1000 & echo ready; wait", root=request.param, extra=extra)
    with running_supervisor(text, root=request.param) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("show", env={"SHADE": "dark"})
        yield supervisor, peer, job
        peer.send("KILL", id=job.id)
        peer.end(job)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_user_and_privileges(running: tuple[Supervisor, Peer, Started]) -> None:
    """One user and group in all four places, no other groups, no capabilities, none to gain."""
    supervisor, _, job = running
    job.read(until=b"ready")
    status = status_of(job.pid)
    uid = JOB_UID if supervisor.root else supervisor.uid
    assert status["Uid"].split() == [str(uid)] * 4
    if IS_ROOT:
        assert status["Gid"].split() == [str(uid)] * 4
        assert status["Groups"] == ""
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0
    if supervisor.root:
        assert int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_descriptors(running: tuple[Supervisor, Peer, Started]) -> None:
    """0, 1 and 2 and nothing else: /dev/null and the two pipes."""
    _, _, job = running
    job.read(until=b"ready")
    fds = {path.name: os.readlink(path) for path in Path(f"/proc/{job.pid}/fd").iterdir()}
    # A shell may hold its script's source at 10 and above; this one has none.
    assert fds["0"] == "/dev/null"
    assert {fds["1"].split(":")[0], fds["2"].split(":")[0]} == {"pipe"}
    assert fds["1"] != fds["2"]
    assert set(fds) == {"0", "1", "2"}


@pytest.mark.parametrize("root", MODE_AND_SLOW_MODE)
def test_signals_and_mode(root: bool) -> None:
    """Nothing is ignored or blocked, and files are made with umask 022.

    Told by the job itself: a shell blocks signals now and then.
    """
    text = command("status", "/bin/cat", root=root, extra='fixed = ["/proc/self/status"]')
    with running_supervisor(text, root=root) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("status")
        lines = dict(line.split(":\t", 1) for line in job.read().decode().splitlines())
        assert int(lines["SigIgn"], 16) == 0
        assert int(lines["SigBlk"], 16) == 0
        assert int(lines["SigCgt"], 16) == 0
        assert lines["Umask"] == "0022"
        peer.end(job)


def test_own_session_and_limits(running: tuple[Supervisor, Peer, Started]) -> None:
    """It leads a session, leaves no core, and may open 1024 files."""
    _, _, job = running
    job.read(until=b"ready")
    fields = Path(f"/proc/{job.pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert fields[2:4] == [str(job.pid)] * 2  # process group and session
    limits = Path(f"/proc/{job.pid}/limits").read_text().splitlines()
    found = {line[:25].strip(): line[25:].split() for line in limits}
    assert found["Max core file size"][:2] == ["0", "0"]
    assert found["Max open files"][0] == "1024"


def test_environment_is_built_from_nothing(running: tuple[Supervisor, Peer, Started]) -> None:
    """The fixed keys, the policy's, the request's: no more. A user without an entry in passwd has a
    name by its id."""
    supervisor, _, job = running
    uid = JOB_UID if supervisor.root else supervisor.uid
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"job{uid}"
    text = job.read(until=b"ready\n").decode()
    env = dict(line.split("=", 1) for line in text.splitlines()[:-1])
    home = str(supervisor.directory / "work" / job.id)
    assert env == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": home,
        "USER": name,
        "LOGNAME": name,
        "PWD": home,  # the shell's own
        "LANG": "C",
        "COLOUR": "red",
        "SHADE": "dark",
        "PENSTOCK_JOB": job.id,
    }


def test_working_directory(running: tuple[Supervisor, Peer, Started]) -> None:
    """Its own, 0700, of the job's user."""
    supervisor, _, job = running
    job.read(until=b"ready")
    directory = Path(os.readlink(f"/proc/{job.pid}/cwd"))
    assert directory == supervisor.directory / "work" / job.id
    status = directory.stat()
    assert status.st_mode & 0o7777 == 0o700
    assert status.st_uid == (JOB_UID if supervisor.root else supervisor.uid)


@pytest.mark.root
@pytest.mark.parametrize("running", [True], indirect=True)
def test_born_inside_its_groups(running: tuple[Supervisor, Peer, Started]) -> None:
    """It and its children are in the job's group in every hierarchy that limits it."""
    supervisor, _, job = running
    job.read(until=b"ready")
    child = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()[0]
    above, own = f"{supervisor.cgroup_parent}/", f"/{job.id}"  # with its client's group between
    for pid in (str(job.pid), child):
        groups = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().split()]
        held = {names for _, names, path in groups if path.startswith(above) and path.endswith(own)}
        assert "" in held or {"cpu", "memory", "pids", "blkio"} <= held or "cpu,cpuacct" in held


@pytest.mark.root
@pytest.mark.parametrize("running", [True], indirect=True)
def test_limits_are_reported_as_read_back(running: tuple[Supervisor, Peer, Started]) -> None:
    """STARTED says per limit what the kernel holds."""
    _, _, job = running
    states = {entry["limit"]: entry["state"] for entry in job.message["enforcement"]}
    assert states["cpu"] == states["memory"] == states["processes"] == "enforced"
    assert states["output"] == "enforced"
    assert job.message["limits"]["memory_bytes"] == 100_000_000
    assert job.message["usage"]


@pytest.mark.root
@pytest.mark.parametrize("running", [True], indirect=True)
def test_the_kill_descriptor_kills(running: tuple[Supervisor, Peer, Started]) -> None:
    """What STARTED carried ends the job without the supervisor."""
    _, _, job = running
    if "kill" not in job.fds:
        pytest.skip("pure cgroup v1 has no cgroup.kill")
    job.read(until=b"ready")
    os.write(job.fds["kill"], b"1")
    assert wait_dead(job.pid)


@pytest.mark.parametrize("running", [False], indirect=True)
def test_user_mode_says_what_is_missing(running: tuple[Supervisor, Peer, Started]) -> None:
    """Every limit but output and storage is unavailable, and so is what only root can do to
    isolate; the log warns of it."""
    supervisor, _, job = running
    states = {entry["limit"]: entry["state"] for entry in job.message["enforcement"]}
    without_root = {"output", "storage", "files", "isolation.seccomp", "isolation.landlock"}
    assert (states["storage"], states["files"]) == ("partial", "partial")
    assert {states[name] for name in states.keys() - without_root} == {"unavailable"}
    assert "warning: no limits" in supervisor.log
    assert "warning: no separation" in supervisor.log
