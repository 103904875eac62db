"""A stop of a job that stands still, whatever is the reason: its own signal is heard (C5, C17)."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio
from patience import patient
from running import RunningServer, policy_text, running_server, script
from standing import wait_state
from this_run import group as group_of

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb

pytestmark = pytest.mark.root

# The daemon has a session of its own; both say what they hear. Nobody comes or goes meanwhile, so
# that the test can name them all.
TREE = (
    "setsid sh -c \"trap 'echo daemon; exit' TERM; sleep 300 & echo ready; wait\" & "
    "trap 'echo main; exit 3' TERM; echo ready; wait"
)
# It makes its parent its tracer, and is stopped by the first signal that it gets.
TRACED = """
import ctypes, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(3))
libc = ctypes.CDLL(None, use_errno=True)
print("ready" if libc.ptrace(0, 0, None, None) == 0 else "cannot", flush=True)
os.kill(os.getpid(), signal.SIGUSR1)
while True:
    signal.pause()
"""
LONG, SHORT = "300s", "300ms"
COMMANDS = (
    script("tree", TREE, grace=LONG)
    + 'stop_to = "tree"\n'
    + script("late", TREE, grace=LONG)
    + 'timeout = "2s"\n'
    + script("held", TREE, grace=SHORT)
    + f"[commands.traced]\npath = '{os.path.realpath('/usr/bin/python3')}'\nclass = 'free'\n"
    f"grace = '{LONG}'\nisolation = 'none'\n@user\nfixed = ['-I', '-c', '''{TRACED}''']\n"
)
NAMES = '["tree", "late", "held", "traced"]'
CLIENTS = f"[clients.alice]\ncommands = {NAMES}\n[clients.bob]\ncommands = {NAMES}\n"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


async def started(client: Client, name: str, ready: int = 2) -> pb.Job:
    """A job all of whose processes have said that they run."""
    job = await client.start(name)
    data = b""
    with trio.fail_after(patient(20)):
        async with client.stream(job.handle) as messages:
            async for message in messages:
                data += message.data
                if b"cannot" in data:
                    await client.stop(job.handle)
                    pytest.skip("no process may trace another on this kernel")
                if data.count(b"ready") == ready:
                    return job
    raise AssertionError(data)


@asynccontextmanager
async def no_skip_leaves(client: Client, job: pb.Job) -> AsyncIterator[None]:
    """A host that lacks something is noticed with the job under way: it is stopped then."""
    lacks: BaseException | None = None
    try:
        yield
    except pytest.skip.Exception as skip:
        lacks = skip
    if lacks is not None:
        await client.stop(job.handle)
        raise lacks


def group(server: RunningServer, job: pb.Job) -> Path:
    """Of the job, where its processes are frozen and killed."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    v2 = [each[4] for each in mounts if each[each.index("-") + 1] == "cgroup2"]
    if not v2:
        pytest.skip("this host has no v2 mount")
    relative = Path(f"/proc/{job.os_pid}/cgroup").read_text().rsplit("0::", 1)[1].strip()
    return Path(v2[0] + relative)


@contextmanager
def stopped(server: RunningServer, job: pb.Job) -> Iterator[None]:
    """By SIGSTOP, all of it."""
    for pid in (group(server, job) / "cgroup.procs").read_text().split():
        os.kill(int(pid), 19)
    yield


def frozen(depth: int) -> Callable[[RunningServer, pb.Job], AbstractContextManager[None]]:
    """By somebody else, so many groups above its own; -1: one that was made below it."""

    @contextmanager
    def freeze(server: RunningServer, job: pb.Job) -> Iterator[None]:
        directory = group(server, job)
        if depth < 0:
            pids = (directory / "cgroup.procs").read_text().split()
            directory /= "below"
            directory.mkdir()
            for pid in pids:
                (directory / "cgroup.procs").write_text(pid)
        for _ in range(depth):
            directory = directory.parent
        (directory / "cgroup.freeze").write_text("1")
        yield

    return freeze


@contextmanager
def frozen_elsewhere(server: RunningServer, job: pb.Job) -> Iterator[None]:
    """In a group of somebody else's in v1's freezer hierarchy, which keeps even KILL from it."""
    top = Path("/sys/fs/cgroup/freezer")
    if not (top / "cgroup.procs").exists():
        pytest.skip("this host has no v1 freezer")
    theirs = Path(f"{top}{group_of('theirs')}")
    theirs.mkdir()
    try:
        for pid in (group(server, job) / "cgroup.procs").read_text().split():
            (theirs / "cgroup.procs").write_text(pid)
        (theirs / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (theirs / "freezer.state").write_text("THAWED")
        theirs.rmdir()


@contextmanager
def moved_away(server: RunningServer, job: pb.Job) -> Iterator[None]:
    """The main process, into a frozen v2 group of somebody else's, where no cgroup.kill of ours
    reaches it."""
    mount = str(group(server, job)).removesuffix(
        Path(f"/proc/{job.os_pid}/cgroup").read_text().rsplit("0::", 1)[1].strip()
    )
    theirs = Path(f"{mount}{group_of('theirs')}")
    theirs.mkdir()
    try:
        (theirs / "cgroup.procs").write_text(str(job.os_pid))
        (theirs / "cgroup.freeze").write_text("1")
        yield
    finally:
        (theirs / "cgroup.freeze").write_text("0")
        theirs.rmdir()


WAYS = {
    "stopped": stopped,
    "frozen": frozen(0),
    "client": frozen(1),
    "parent": frozen(2),
    "below": frozen(-1),
    "elsewhere": frozen_elsewhere,
    "moved": moved_away,
}


@pytest.mark.parametrize("way", WAYS)
async def test_its_signal_is_heard(server: RunningServer, way: str) -> None:
    """By all that the command wants to hear it; no KILL, long before the grace is over."""
    async with connect(server.endpoint("alice")) as client:
        job = await started(client, "tree")
        async with no_skip_leaves(client, job):
            with WAYS[way](server, job), trio.fail_after(patient(20)):
                answer = await client.stop(job.handle)
        assert (answer.escalated, answer.job.end.exit_code) == (False, 3)
        assert b"main" in await output(client, job.handle)


async def output(client: Client, handle: str) -> bytes:
    data = b""
    async with client.stream(handle) as messages:
        async for message in messages:
            data += message.data
    return data


@pytest.mark.slow
async def test_a_deadlines_signal_is_heard_too(server: RunningServer) -> None:
    """C17: the supervisor's own first signal, though nobody has asked for a stop."""
    async with connect(server.endpoint("alice")) as client:
        job = await started(client, "late")
        with stopped(server, job), trio.fail_after(patient(20)):
            end = (await client.wait(job.handle)).end
        assert (end.reason, end.exit_code, end.escalated) == ("timed_out", 3, False)


@pytest.mark.slow
async def test_other_jobs_of_a_frozen_client_are_said_to_run(server: RunningServer) -> None:
    """The client's group is thawed as a whole, and the log says that it was frozen."""
    async with connect(server.endpoint("bob")) as client:
        job = await started(client, "tree")
        with frozen(1)(server, job), trio.fail_after(patient(20)):
            await client.stop(job.handle)
        await server.logged("client-bob was frozen")


@pytest.mark.slow
async def test_who_makes_penstockd_its_tracer_hears_it(server: RunningServer) -> None:
    """Which takes isolation = "none": penstockd lets it go on."""
    async with connect(server.endpoint("alice")) as client:
        job = await started(client, "traced", 1)
        with trio.fail_after(patient(20)):
            await wait_state(job.os_pid, "t")
            answer = await client.stop(job.handle)
        assert (answer.escalated, answer.job.end.exit_code) == (False, 3)


SEIZE_AND_STOP = """
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
done = libc.ptrace(0x4206, pid, None, None) or libc.ptrace(0x4207, pid, None, None)
print(done, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
async def test_who_is_held_by_a_debugger_is_named_and_killed(server: RunningServer) -> None:
    """Nobody but its tracer can let it hear anything: KILL after the grace, as promised."""
    async with connect(server.endpoint("alice")) as client:
        job = await started(client, "held")
        async with no_skip_leaves(client, job):
            with tracing(job.os_pid) as tracer, trio.fail_after(patient(20)):
                await wait_state(job.os_pid, "t")
                answer = await client.stop(job.handle)
        assert answer.escalated
        await server.logged(f"held by a tracer, process {tracer}, and hears nothing but KILL")


@contextmanager
def tracing(pid: int) -> Iterator[int]:
    """A debugger that has stopped this process, and does nothing more; its pid."""
    words = [sys.executable, "-I", "-c", SEIZE_AND_STOP, str(pid)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tracer:
        assert tracer.stdout is not None
        try:
            if tracer.stdout.readline() != b"0\n":
                pytest.skip("no process may trace another on this kernel")
            yield tracer.pid
        finally:
            tracer.communicate()
