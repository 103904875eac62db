"""What a job sees and can change of the host, asked of real jobs."""

import ctypes
import errno
import json
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mounted import mounted
from supervisor_peer import Peer
from supervisor_process import (
    JOB_UID,
    SERVER_UID,
    Supervisor,
    command,
    running_supervisor,
    shell,
)
from this_run import new_directory, visible_directory

from penstock.policy.limit_classes import ISOLATION_NAMES
from penstock.supervisor.isolation import seccomp

pytestmark = pytest.mark.root

MACHINE = seccomp.MACHINES.get(os.uname().machine)
PTRACE = seccomp.denied_numbers(MACHINE)["ptrace"] if MACHINE is not None else 0
# What Python in a job begins with: the errno of whatever raises, 0 of what does not.
TRY = """
import ctypes, errno, json, os, socket, subprocess, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def attempt(act):
    try:
        act()
    except OSError as error:
        return error.errno
    return 0
def called(number, *arguments):
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return 0 if result >= 0 else ctypes.get_errno()
def touch(directory):
    open(os.path.join(directory, "touched-by-a-test"), "w").close()
"""


def python(name: str, script: str, extra: str = "", *, root: bool = True) -> str:
    """A command that prints one JSON value, which is that of ``answer``."""
    lines = f"{TRY}{script}\nprint(json.dumps(answer), flush=True)\n"
    fixed = f"fixed = ['-I', '-c', '''{lines}''']\n"
    return command(name, "/usr/bin/python3", root=root, extra=fixed + extra)


def answer(peer: Peer, name: str, *arguments: str) -> Any:
    """What such a command says, run to its end."""
    job = peer.start(name, *arguments)
    text = job.read()
    exited, _ = peer.end(job)
    assert exited["status"] == 0, (text, job.read("stderr"))
    return json.loads(text)


def states(message: dict[str, Any], key: str) -> dict[str, str]:
    return {entry["limit"]: entry["state"] for entry in message[key]}


@pytest.fixture(autouse=True)
def same_mounts() -> Iterator[None]:
    """Nothing that a job does to its mounts is seen on the host, then or later."""
    before = mounted()
    yield
    assert mounted() == before


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that every user may write, neither /tmp nor below it."""
    directory = visible_directory("shared")
    directory.chmod(0o1777)
    yield directory
    shutil.rmtree(directory)


def test_the_system_is_read_only(shared: Path) -> None:
    """Whatever the rights of a directory say, but for the job's own and the one named writable."""
    script = f"""
places = ["/etc", "/usr", "/var", "/run", "/dev", "/sys", "{shared}", "/tmp", "/var/tmp", ".",
          "{shared}/open"]
answer = [[place, attempt(lambda: touch(place))] for place in places]
"""
    (shared / "open").mkdir(mode=0o777)
    (shared / "open").chmod(0o777)
    writable = f'writable = ["{shared}/open"]\n'
    text = python("named", script, writable) + python("plain", script)
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        peer.hello()
        for name, named in (("plain", errno.EROFS), ("named", 0)):
            found = dict(answer(peer, name))
            assert found.pop(f"{shared}/open") == named
            own = {"/tmp", "/var/tmp", "."}
            assert {found[place] for place in own} == {0}
            assert {found[place] for place in found.keys() - own} == {errno.EROFS}
    assert [path.name for path in shared.iterdir()] == ["open"]
    assert len(list((shared / "open").iterdir())) == 1


def test_everything_is_nosuid() -> None:
    """Every mount that a job sees."""
    script = """
lines = open("/proc/self/mountinfo").read().splitlines()
answer = [line.split()[4] for line in lines if "nosuid" not in line.split()[5].split(",")]
"""
    with running_supervisor(python("mounts", script)) as supervisor, supervisor.connect() as peer:
        peer.hello()
        assert answer(peer, "mounts") == []


def test_temporary_files_are_a_jobs_own() -> None:
    """Another job of the same user does not see them, nor does the host; they go with the job."""
    name = f"penstock-{uuid.uuid4().hex}"
    write = f"for d in /tmp /dev/shm; do echo secret > $d/{name} || exit 1; done; echo ready;"
    look = f"ls -A /tmp /var/tmp /dev/shm | grep -c {name}; true"
    text = shell("write", f"{write} sleep 1000", root=True) + shell("look", look, root=True)
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        peer.hello()
        writer = peer.start("write")
        writer.read(until=b"ready")
        looker = peer.start("look")
        assert looker.read() == b"0\n"
        peer.end(looker)
        for directory in ("/tmp", "/var/tmp", "/dev/shm"):
            assert not Path(directory, name).exists()
        # Where they really are: on the disk of the work directory, closed to others.
        behind = supervisor.directory / "work" / f"{writer.id}.tmp"
        assert (behind / name).read_text() == "secret\n"
        assert (behind.stat().st_uid, behind.stat().st_mode & 0o777) == (JOB_UID, 0o700)
        peer.send("KILL", id=writer.id)
        peer.end(writer)
    # running_supervisor has seen that nothing is left in the work directory.


def test_directories_that_the_policy_names_are_not_hidden() -> None:
    """Below /var/tmp: the working directory can be written, a slot's root only be read."""
    directory = new_directory("files")
    for part in ("work", "files"):
        (directory / part).mkdir(parents=True)
        (directory / part).chmod(0o777)
    (directory / "files").chmod(0o755)
    os.chown(directory / "files", 0, 0)
    (directory / "files" / "file").write_text("content")
    (directory / "files" / "open").mkdir()
    (directory / "files" / "open").chmod(0o777)
    script = f"""
answer = [os.getcwd(), open(sys.argv[1]).read(), attempt(lambda: touch(".")),
          attempt(lambda: touch("{directory}/files/open")), sorted(os.listdir("/var/tmp")),
          sorted(os.listdir("{directory.parent}")), attempt(lambda: touch("/tmp"))]
"""
    extra = f"""workdir = "{directory}/work"
arguments = [{{ path = {{ root = "{directory}/files" }} }}]
"""
    try:
        text = python("look", script, extra)
        with running_supervisor(text) as supervisor, supervisor.connect() as peer:
            peer.hello()
            seen = [directory.parent.name], [directory.name]
            expected = [f"{directory}/work", "content", 0, errno.EROFS, *map(list, seen), 0]
            assert answer(peer, "look", "file") == expected
        assert [path.name for path in (directory / "work").iterdir()] == ["touched-by-a-test"]
    finally:
        shutil.rmtree(directory)


def test_own_host_name_and_shared_memory(shared: Path) -> None:
    """A System V segment of another is not there; the host's name can be read, not changed."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = 0x7000_0000 + os.getpid()
    segment = libc.shmget(key, 4096, 0o1666)  # IPC_CREAT
    assert segment >= 0
    script = f"""
found = libc.shmget({key}, 0, 0)
answer = [os.readlink("/proc/self/ns/uts"), os.readlink("/proc/self/ns/ipc"), os.uname().nodename,
          0 if found >= 0 else ctypes.get_errno(), attempt(lambda: socket.sethostname("x"))]
"""
    try:
        text = python("own", script) + python("none", script, 'isolation = "none"\n')
        with running_supervisor(text) as supervisor, supervisor.connect() as peer:
            peer.hello()
            uts, ipc, name, shm, change = answer(peer, "own")
            ours = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("uts", "ipc")]
            assert uts != ours[0]
            assert ipc != ours[1]
            assert (name, shm, change) == (os.uname().nodename, errno.ENOENT, errno.EPERM)
            assert answer(peer, "none")[:4] == [*ours, name, 0]
    finally:
        libc.shmctl(segment, 0, None)  # IPC_RMID


def test_no_network() -> None:
    """No interface but lo, which works; what listens on the host's loopback cannot be reached."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        script = f"""
def own():
    with socket.create_server(("127.0.0.1", 0)) as here:
        socket.create_connection(here.getsockname()).close()
names = [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]]
answer = [names, attempt(lambda: socket.create_connection(("127.0.0.1", {port})).close()),
          attempt(own)]
"""
        text = python("none", script, 'network = "none"\n')
        text += python("host", script, 'network = "host"\n')
        with running_supervisor(text) as supervisor, supervisor.connect() as peer:
            peer.hello()
            assert answer(peer, "none") == [["lo"], errno.ECONNREFUSED, 0]
            names, reached, own = answer(peer, "host")
            assert (reached, own) == (0, 0)
            assert set(names) == {name for _, name in socket.if_nameindex()}


@pytest.mark.skipif(MACHINE is None, reason="no list for this machine")
def test_denied_system_calls() -> None:
    """Each of the list fails with EPERM, new namespaces by clone too; clone3 is not there."""
    assert MACHINE is not None
    numbers = seccomp.denied_numbers(MACHINE)
    # What the kernel itself would answer to zeros differs, where no right is missing.
    script = f"""
flags = [1 << bit for bit in range(32) if {seccomp.CLONE_NEW} >> bit & 1]
answer = [{{name: called(number, 0, 0, 0, 0, 0, 0) for name, number in {numbers}.items()}},
          [called({MACHINE.clone}, flag | 17, 0, 0, 0, 0) for flag in flags], called(435, 0, 0)]
"""
    plain = f"answer = called({numbers['unshare']}, 0)"
    text = python("denied", script) + python("off", plain, "seccomp = false\n")
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        peer.hello()
        calls, clones, clone3 = answer(peer, "denied")
        assert calls == dict.fromkeys(numbers, errno.EPERM)
        assert set(clones) == {errno.EPERM}
        assert clone3 == errno.ENOSYS
        assert answer(peer, "off") == 0


def test_ordinary_programs_work() -> None:
    """Pipes, threads, processes, a sort that spills into /tmp, /dev/null, /dev/fd."""
    script = """
done = []
threads = [threading.Thread(target=done.append, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
shown = subprocess.run(["/bin/ls", "/"], capture_output=True, check=True).stdout
answer = [sorted(done), b"etc" in shown]
"""
    pipes = (
        "seq 200000 | sort -R -S 1M | sort -n -S 1M | tail -n 1; echo x > /dev/null; "
        "echo y | cat /dev/fd/0; ls /proc/self/fd > /dev/null && mktemp"
    )
    multi = (
        "from multiprocessing import Pool\nwith Pool(2) as pool: answer = pool.map(abs, [-1, -2])"
    )
    text = python("python", script) + shell("pipes", pipes, root=True) + python("pool", multi)
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        peer.hello()
        assert answer(peer, "python") == [list(range(8)), True]
        job = peer.start("pipes")
        lines = job.read().decode().splitlines()
        assert lines[:2] == ["200000", "y"], job.read("stderr")
        assert lines[2].startswith("/tmp/")
        peer.end(job)
        assert answer(peer, "pool") == [1, 2]


@pytest.mark.skipif(MACHINE is None, reason="the number of ptrace is not known here")
def test_a_job_cannot_reach_its_subreapers(shared: Path) -> None:
    """Neither write its groups, the log and the socket, nor read or trace supervisor and server."""
    server = subprocess.Popen(["/bin/sleep", "1000"], user=SERVER_UID, group=SERVER_UID)
    script = f"""
supervisor = os.getppid()
groups = []
mounts = [line.split(" - ") for line in open("/proc/self/mountinfo")]
tops = [left.split()[4] for left, right in mounts if right.split()[0] in ("cgroup", "cgroup2")]
for line in open("/proc/self/cgroup"):
    path = line.rstrip().split(":", 2)[2]
    groups += [top + path + "/cgroup.procs" for top in tops if os.path.isdir(top + path)]
def write(path):
    with open(path, "r+") as file:
        file.write("0")
both = (supervisor, {server.pid})
answer = [
    [attempt(lambda: write(path)) for path in groups],
    attempt(lambda: write("@state/audit.jsonl")), attempt(lambda: os.listdir("@run")),
    [attempt(lambda: open(f"/proc/{{pid}}/" + name, "rb").read(1)) for pid in both
     for name in ("mem", "environ", "syscall")],
    [called({PTRACE}, 16, pid, 0, 0)
     for pid in both],
    [attempt(lambda: os.kill(pid, 9)) for pid in both]]
"""
    state, run = shared / "state", shared / "run"
    state.mkdir(mode=0o700)
    (state / "audit.jsonl").touch()
    for path in (state, state / "audit.jsonl"):
        os.chown(path, SERVER_UID, SERVER_UID)
    text = python("reach", script.replace("@state", str(state)).replace("@run", str(run)))
    try:
        with (
            running_supervisor(text, run_dir=str(run)) as supervisor,
            _connected(run, supervisor) as peer,
        ):
            peer.hello()
            groups, log, run_dir, files, traces, kills = answer(peer, "reach")
            assert groups
            assert set(groups) <= {errno.EROFS, errno.EACCES}
            assert log == run_dir == errno.EACCES
            assert set(files) <= {errno.EACCES, errno.EPERM}
            assert set(traces) == set(kills) == {errno.EPERM}
    finally:
        server.kill()
        server.wait()
    assert (state / "audit.jsonl").read_bytes() == b""


def _connected(run: Path, supervisor: Supervisor) -> Peer:
    os.setegid(supervisor.uid)
    os.seteuid(supervisor.uid)
    try:
        return Peer(run / "supervisor.sock")
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_a_setuid_program_gives_nothing(shared: Path) -> None:
    """It runs, as the job's user."""
    shutil.copy("/usr/bin/id", shared / "id")
    (shared / "id").chmod(0o4755)
    text = shell("who", f"{shared}/id -u; {shared}/id -ru", root=True)
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        peer.hello()
        job = peer.start("who")
        assert job.read().split() == [str(JOB_UID).encode()] * 2
        peer.end(job)


@pytest.mark.parametrize("root", [True, False])
def test_landlock_paths(shared: Path, root: bool) -> None:
    """What is listed and the job's own directories; nothing else, whatever its rights.

    Without root only Landlock stands in the way, and /tmp is everybody's.
    """
    for name in ("read", "write", "other"):
        (shared / name).mkdir()
        (shared / name).chmod(0o777)
        (shared / name / "file").write_text(name)
        (shared / name / "file").chmod(0o666)
    script = f"""
def read(path):
    open(path).close()
places = ["{shared}/read", "{shared}/write", "{shared}/other"]
answer = [[attempt(lambda: read(place + "/file")) for place in places],
          [attempt(lambda: touch(place)) for place in places],
          attempt(lambda: read("/etc/passwd")), attempt(lambda: touch("/tmp")),
          attempt(lambda: touch(".")), attempt(lambda: open("/dev/null", "w").close()),
          attempt(lambda: os.truncate("{shared}/other/file", 0))]
"""
    extra = f'landlock = {{ read = ["{shared}/read"], write = ["{shared}/write"] }}\n'
    text = python("paths", script, extra, root=root)
    with running_supervisor(text, root=root) as supervisor, supervisor.connect() as peer:
        welcome = peer.hello()
        if states(welcome, "limits")["isolation.landlock"] != "enforced":
            pytest.skip("this kernel has no complete Landlock")
        no, refused = errno.EACCES, errno.EROFS if root else errno.EACCES
        read, write, *others = answer(peer, "paths")
        assert read == [0, 0, no]
        assert write == [refused, 0, refused]
        assert others == [no, 0 if root else no, 0, 0, refused]


def test_a_file_below_tmp_that_landlock_lists() -> None:
    """It alone of the host's /var/tmp is seen, and can be read."""
    directory = new_directory("files")
    for name in ("listed", "other"):
        (directory / name).write_text(name)
    script = f"""
names = [f"{directory}/listed", f"{directory}/other"]
answer = [attempt(lambda: open(name).close()) for name in names], open(names[0]).read()
"""
    try:
        text = python("read", script, f'landlock = {{ read = ["{directory}/listed"] }}\n')
        with running_supervisor(text) as supervisor, supervisor.connect() as peer:
            if states(peer.hello(), "limits")["isolation.landlock"] == "unavailable":
                pytest.skip("this kernel has no Landlock")
            assert answer(peer, "read") == [[0, errno.ENOENT], "listed"]
    finally:
        shutil.rmtree(directory)


def test_enforcement_says_what_a_job_got() -> None:
    """All names for the host; of each job what it has or its policy turns off, and says why."""
    text = command("plain", "/bin/true", root=True)
    text += command("off", "/bin/true", root=True, extra='isolation = "none"\n')
    text += command("net", "/bin/true", root=True, extra='network = "none"\nseccomp = false\n')
    default = {"isolation.filesystem", "isolation.ipc", "isolation.uts", "isolation.seccomp"}
    with running_supervisor(text) as supervisor, supervisor.connect() as peer:
        welcome = states(peer.hello(), "limits")
        assert set(ISOLATION_NAMES) <= set(welcome)
        found = {}
        for name in ("plain", "off", "net"):
            job = peer.start(name)
            peer.end(job)
            entries = states(job.message, "enforcement")
            found[name] = {key for key in ISOLATION_NAMES if entries.get(key) == "enforced"}
            details = {entry["limit"]: entry["detail"] for entry in job.message["enforcement"]}
        assert found["plain"] == default
        assert found["off"] == set()
        assert found["net"] == default - {"isolation.seccomp"} | {"isolation.network"}
        assert details["isolation.seccomp"] == "turned off by the policy"
        assert "isolation.landlock" not in details
