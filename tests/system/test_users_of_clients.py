"""Each client's jobs run as a user of its own, which programs find and nobody else gets."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from killing import kill_server
from patience import patient
from running import running_again, running_server
from supervisor_peer import Peer, Started
from supervisor_process import SUPERVISOR, command, running_supervisor, shell
from this_run import job_uids, new_directory

from penstock.policy.uid_range import parse_uid_range
from penstock.supervisor.users.user_table import NAME

pytestmark = pytest.mark.root

WHO = """id -u; id -g; id -un; id -gn; whoami; echo $USER $LOGNAME $HOME; getent passwd $(id -u)
tail -n 1 /etc/group; head -n 1 /etc/passwd; echo x >>/etc/passwd; echo rm $(rm /etc/passwd 2>&1)"""


def own(name: str, script: str, extra: str = "") -> str:
    """A command without the key ``user``."""
    text = shell(name, script, root=False, extra=extra)
    assert "user" not in text.splitlines()[1:3]
    return text


def clients(names: str, *commands: str) -> str:
    listed = ", ".join(f'"{name}"' for name in commands)
    return "".join(f"[clients.{name}]\ncommands = [{listed}]\n" for name in names.split())


def status_of(job: Started) -> dict[str, list[str]]:
    """Uid, Gid and Groups, as the kernel has them."""
    lines = Path(f"/proc/{job.pid}/status").read_text().splitlines()
    found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {name: found[name].split() for name in ("Uid", "Gid", "Groups")}


@pytest.fixture
def peer() -> Iterator[Peer]:
    text = own("who", WHO) + own("wait", "echo ready; exec sleep 1000")
    text += own("bare", "id -u; whoami", 'isolation = "none"\nclass = "free"\n')
    text += own("adm", "id -G", 'groups = ["adm"]\n')
    text += command("numeric", "/usr/bin/whoami", root=True)
    everybody = clients("alice bob", "who", "wait", "bare", "adm", "numeric")
    with running_supervisor(text, clients=everybody) as supervisor, supervisor.connect() as peer:
        peer.hello()
        yield peer


def said(peer: Peer, name: str, **fields: str) -> list[str]:
    job = peer.start(name, **fields)
    lines = job.read().decode().splitlines()
    peer.end(job)
    return lines


def test_a_job_is_its_clients_user(peer: Peer) -> None:
    """One id for all of a client's jobs, in all four places, its group with the same number; that
    of another client is another. The server is told."""
    uids = parse_uid_range(job_uids())
    jobs = [peer.start("wait", client=name) for name in ("alice", "bob", "alice")]
    for job in jobs:
        job.read(until=b"ready")
    found = [status_of(job) for job in jobs]
    for job, status in zip(jobs, found, strict=True):
        assert status["Uid"] == status["Gid"] == [str(job.message["uid"])] * 4
        assert status["Groups"] == []
        assert job.message["uid"] in uids
    assert found[0] == found[2] != found[1]
    for job in jobs:
        peer.send("KILL", id=job.id)
        peer.end(job)


def test_programs_find_the_user(peer: Peer) -> None:
    """By name and id, in passwd and group as the job sees them, with its directory as home; the
    host's files are as they were, and nobody can change the job's."""
    before = [Path(path).read_bytes() for path in ("/etc/passwd", "/etc/group")]
    job = peer.start("who", client="bob")
    lines = job.read().decode().splitlines()
    uid, gid, name, group, whoami, env, entry, last_group, first, removed = lines
    peer.end(job)
    assert uid == gid == str(job.message["uid"])
    assert name == group == whoami == f"job{uid}"
    home = env.split()[2]
    assert env == f"{name} {name} {home}"
    assert home.endswith(f"/work/{job.id}")
    assert entry == f"{name}:x:{uid}:{gid}:penstock client bob:{home}:/usr/sbin/nologin"
    assert last_group == f"{group}:x:{gid}:"
    assert first.startswith("root:x:0:0:")
    assert "Permission denied" in job.read("stderr").decode()
    assert removed.startswith("rm rm: ")
    assert [Path(path).read_bytes() for path in ("/etc/passwd", "/etc/group")] == before


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh here")
def test_ssh_finds_its_user() -> None:
    """It ends at once where nobody knows who it is run by."""
    text = command("ssh", "/usr/bin/ssh", root=False, extra='fixed = ["-G", "host.example"]\n')
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("ssh")
        assert f"user job{job.message['uid']}\n".encode() in job.read(), job.read("stderr")
        peer.end(job)


@pytest.mark.slow
def test_a_named_id_without_an_entry_has_a_name_too(peer: Peer) -> None:
    """As what was said of it is about any id."""
    job = peer.start("numeric")
    assert job.read().decode() == f"job{job.message['uid']}\n"
    peer.end(job)


@pytest.mark.slow
def test_without_a_view_of_its_own(peer: Peer) -> None:
    """It is the same user, whom nothing names."""
    uid, *name = said(peer, "bare")
    assert (int(uid) in parse_uid_range(job_uids()), name) == (True, [])


@pytest.mark.slow
def test_supplementary_groups(peer: Peer) -> None:
    """Those of the command, beside the client's own."""
    gid = [line.split(":")[2] for line in Path("/etc/group").read_text().splitlines()
           if line.startswith("adm:")]  # fmt: skip
    groups = said(peer, "adm")[0].split()
    assert groups[1:] == gid
    assert int(groups[0]) in parse_uid_range(job_uids())


@pytest.mark.slow
def test_paths_are_looked_for_with_its_groups() -> None:
    """A directory that only a group may enter is refused without it, and open with it."""
    root = new_directory("grouped")
    (root / "logs").mkdir()
    (root / "logs" / "file").write_text("text")
    os.chown(root / "logs", 0, 4)
    (root / "logs").chmod(0o750)
    slot = f'arguments = [{{ path = {{ root = "{root}" }} }}]\n'
    text = command("with", "/bin/cat", root=False, extra=f'groups = ["4"]\n{slot}')
    text += command("without", "/bin/cat", root=False, extra=slot)
    try:
        with running_supervisor(text) as supervisor, supervisor.connect() as peer:
            peer.hello()
            job = peer.start("with", "logs/file")
            assert job.read() == b"text"
            peer.end(job)
            assert "Permission denied" in peer.refused("without", "logs/file")["message"]
    finally:
        shutil.rmtree(root)


def test_a_used_up_range_refuses_the_start() -> None:
    """Of who came too late, and says what to do; at penstockd's start it is a warning."""
    first = parse_uid_range(job_uids()).first
    text = own("true", "exit 0")
    with running_supervisor(
        text, clients=clients("a b c", "true"), job_uids=f"{first}-{first + 1}"
    ) as supervisor:
        with supervisor.connect() as peer:
            assert list(peer.hello()["userless"]) == ["c"]
            for name in ("a", "b"):
                peer.end(peer.start("true", client=name))
            refused = peer.refused("true", client="c")
            assert (refused["fault"], refused["stage"]) == ("failed", "user")
            assert "name a range that has more" in refused["message"]
        assert re.search(r"warning: job_uids: none is left for client 'c'.*refused", supervisor.log)
        assert list((supervisor.directory / "work").iterdir()) == []


@pytest.mark.slow
def test_processes_that_are_somebody_elses() -> None:
    """Another penstockd with the same range would be no other to the kernel: it is said."""
    uid = parse_uid_range(job_uids()).first
    with subprocess.Popen(["/bin/sleep", "1000"], user=uid, group=uid) as other:
        try:
            with (
                running_supervisor(own("true", "exit 0")) as supervisor,
                supervisor.connect() as peer,
            ):
                peer.hello()
            assert re.search(rf"job_uids: processes .*\b{other.pid}\b.* run as", supervisor.log)
        finally:
            other.kill()


@pytest.mark.slow
def test_a_namespace_that_lacks_the_ids() -> None:
    """As in a container: each start is refused, and says so; those of a named user are not."""
    program = new_directory("container") / "enter"
    program.write_text(_CONTAINER)
    program.chmod(0o755)
    text = own("true", "exit 0") + command("named", "/bin/true", root=True)
    # What else such a namespace lacks is not what this is about.
    text = text.replace('class = "free"', 'class = "loose"')
    text += '[classes.loose]\nneeds = { all = "best_effort" }\noutput = "unlimited"\n'
    try:
        with running_supervisor(
            text,
            clients=clients("a", "true", "named"),
            program=["/usr/bin/python3", "-I", str(program), str(SUPERVISOR)],
        ) as supervisor:
            with supervisor.connect() as peer:
                peer.hello()
                refused = peer.refused("true", client="a")
                assert "maps none of" in refused["message"]
                peer.end(peer.start("named", client="a"))
            assert "this user namespace maps none of" in supervisor.log
    finally:
        shutil.rmtree(program.parent)


# A user namespace with the first 65,536 ids, as Docker and others make them.
_CONTAINER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
ready, go = os.pipe(), os.pipe()
parent = os.getpid()
child = os.fork()
if child == 0:
    os.read(ready[0], 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{parent}/{name}", "w") as file:
            file.write("0 0 65536")
    os.write(go[1], b"x")
    os._exit(0)
assert libc.unshare(0x10000000) == 0, ctypes.get_errno()
os.write(ready[1], b"x")
os.read(go[0], 1)
os.waitpid(child, 0)
for fd in (*ready, *go):
    os.close(fd)
os.execv(sys.executable, [sys.executable, "-I", "-S", "-E", *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    "wrong",
    [
        "damaged",
        pytest.param("shared", marks=pytest.mark.slow),
        pytest.param("foreign", marks=pytest.mark.slow),
    ],
)
def test_what_penstockd_does_not_start_with(wrong: str) -> None:
    """A damaged table, and a directory that is not root's alone: named, with what to do."""
    directory = new_directory("roots")
    place = directory / "own"
    place.mkdir(mode=0o700)
    if wrong == "damaged":
        (place / NAME).write_text('{"version": 1, "users": [[7, "alice"]], "sha256": ""}')
        (place / NAME).chmod(0o600)
    elif wrong == "shared":
        place.chmod(0o750)
    else:
        os.chown(place, 1, 1)
    expected = {
        "damaged": f"supervisor_dir: {place}/{NAME} is damaged: .*; put a copy of it back",
        "shared": f"supervisor_dir: {place} is not penstockd's user's alone; chown 0, chmod 0700",
        "foreign": f"supervisor_dir: {place} is not penstockd's user's alone",
    }
    try:
        with pytest.raises(AssertionError) as caught:
            with running_supervisor(own("true", "exit 0"), supervisor_dir=str(place)):
                pytest.fail("it has started")
        assert re.search(expected[wrong], str(caught.value)), caught.value
    finally:
        shutil.rmtree(directory)


@pytest.mark.slow
def test_a_jobs_user_over_restarts() -> None:
    """A server that is killed takes nothing with it: its jobs keep their users, and the next job of
    a client has the same. So it is after a restart of penstockd, whoever comes first then. The
    audit log has it."""
    text = '[commands.wait]\npath = "/bin/sleep"\nclass = "free"\nfixed = ["1000"]\n'
    policy = f'[classes.free]\nneeds = {{ all = "best_effort" }}\n{text}'
    policy += clients("alice bob carol", "wait")
    with running_server(policy) as server:
        first = {name: _uid(server.start(name, "wait")) for name in ("bob", "alice")}
        handle = server.start("alice", "wait")
        trio.run(kill_server, server)
        done = server.cli("alice", "status", handle)
        assert done.returncode == 0, done
        assert _uid(handle) == first["alice"]
        assert _uid(server.start("alice", "wait")) == first["alice"]
        lines = [line for line in server.audit() if line["event"] == "job.running"]
        assert {line["owner"]: line["uid"] for line in lines} == first
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(patient(20))
        with running_again(server):
            assert _uid(server.start("carol", "wait")) not in first.values()
            assert {name: _uid(server.start(name, "wait")) for name in first} == first


def _uid(handle: str) -> int:
    """Of a running job; it may be starting."""
    return Path(f"/proc/{handle.split('.')[0]}").stat().st_uid
