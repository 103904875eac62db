"""Process trees that resist, stopped through the whole server: nobody is left when stop returns.

On this host's own kind of groups, and as pure v1, which a hybrid host is in a mount namespace
without its v2 mount. What is expected does not depend on the kind.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import killing
import pytest
import trio
from patience import patient
from running import RunningServer, policy_text, running_server

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb

pytestmark = pytest.mark.root

PYTHON = os.path.realpath("/usr/bin/python3")
# All ignore TERM and have sessions of their own. Of the forked, one in four stops itself, one in
# four ends and so makes room for others, and the rest fork on, also while they are killed.
BOMB = """
import os, random, signal
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
main, told = os.getpid(), False
while True:
    try:
        pid = os.fork()
    except OSError:
        if os.getpid() == main and not told:
            os.write(1, b"full\\n")
            told = True
        continue
    if pid == 0:
        os.setsid()
        told = True
        random.seed(os.getpid())
        fate = random.randrange(4)
        if fate == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        elif fate == 1:
            os._exit(0)
"""
# A daemon that has forked twice, with its own session, deaf to TERM; and one that is stopped.
DAEMONS = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
read_end, write_end = os.pipe()
for stops in (False, True):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(write_end, b"x")
            if stops:
                os.kill(os.getpid(), signal.SIGSTOP)
            while True:
                signal.pause()
        os._exit(0)
for _ in range(2):
    os.read(read_end, 1)
os.wait(), os.wait()
os.write(1, b"there\\n")
{then}
"""
BOUNDS = """
[classes.bomb]
cpu = "50%"
processes = 48
needs = { cpu = "required", processes = "required", disk = "direct_io" }
"""


def command(name: str, text: str) -> str:
    return (
        f'[commands.{name}]\npath = "{PYTHON}"\nclass = "bomb"\ngrace = "200ms"\n@user\n'
        f"fixed = ['-I', '-S', '-c', '''{text}''']\n"
    )


COMMANDS = (
    BOUNDS
    + command("bomb", BOMB)
    + command("daemons", DAEMONS.replace("{then}", "while True: signal.pause()"))
    + command("leaves", DAEMONS.replace("{then}", "os._exit(5)"))
    + command(
        "stopped", DAEMONS.replace("{then}", "while True: os.kill(os.getpid(), signal.SIGSTOP)")
    )
)
CLIENTS = '[clients.alice]\ncommands = ["bomb", "daemons", "leaves", "stopped"]\n'


def without_v2() -> list[str]:
    """A program that executes another in a mount namespace without any cgroup2 mount."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mounts = [line[4] for line in lines if line[line.index("-") + 1] == "cgroup2"]
    if not any(line[line.index("-") + 1] == "cgroup" for line in lines):
        pytest.skip("this host's groups are v2 alone")
    text = "".join(f"umount '{mount}' && " for mount in mounts) + 'exec "$@"'
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", text, "sh"]


@pytest.fixture(scope="module", params=["host", pytest.param("v1", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    prefix = without_v2() if request.param == "v1" else []
    with running_server(policy_text(COMMANDS, CLIENTS), prefix=prefix) as server:
        yield server


def has_v2(server: RunningServer) -> bool:
    """Whether penstockd sees a v2 mount."""
    return "cgroup2" in Path(f"/proc/{server.process.pid}/mountinfo").read_text()


async def started(client: Client, name: str, says: bytes) -> pb.Job:
    """A job that has said so."""
    job = await client.start(name)
    async with client.stream(job.handle) as messages:
        async for message in messages:
            assert not message.HasField("finished"), message.finished
            if says in message.data:
                return job
    raise AssertionError("the stream has ended")


def most_at_once(server: RunningServer) -> int:
    """By the kernel's count: of a tree that forks on, one list after another has ever more."""
    counts = [group / "pids.current" for group in server.groups()]
    return max(int(path.read_text()) for path in counts if path.exists())


async def test_the_kind_is_the_one_that_is_meant(server: RunningServer) -> None:
    """Else the same would be tested twice."""
    async with connect(server.endpoint("alice")) as client:
        kind = (await client.server_info()).cgroups
    assert (kind == "v1") == (not has_v2(server))


async def test_a_bomb_that_forks_while_it_is_killed(server: RunningServer) -> None:
    """Daemons, stopped ones and ones that fork on: contained, and all dead when stop returns."""
    async with connect(server.endpoint("alice")) as client:
        job = await started(client, "bomb", b"full")
        assert 2 < most_at_once(server) <= 48
        answer = await client.stop(job.handle)
        assert killing.processes_of(server) == []
    end = answer.job.end
    assert (end.reason, end.escalated, end.signal) == ("stopped", True, 9)
    assert end.processes_killed > 2


async def test_a_bomb_killed_at_once(server: RunningServer) -> None:
    """Without a grace."""
    async with connect(server.endpoint("alice")) as client:
        for _ in range(5):
            job = await started(client, "bomb", b"full")
            end = (await client.stop(job.handle, grace_s=0)).job.end
            assert killing.processes_of(server) == []
            assert (end.reason, end.signal) == ("stopped", 9)


@pytest.mark.parametrize("name", ["daemons", "stopped"])
async def test_daemons_and_stopped_processes(server: RunningServer, name: str) -> None:
    """Twice forked, sessions of their own, deaf to TERM, and stopped: also the main process, which
    stops itself again as soon as it is let run."""
    async with connect(server.endpoint("alice")) as client:
        job = await started(client, name, b"there")
        assert len(killing.processes_of(server)) == 3
        answer = await client.stop(job.handle)
        assert killing.processes_of(server) == []
    end = answer.job.end
    assert (end.reason, end.signal, end.escalated) == ("stopped", 9, True)
    assert end.processes_killed == 3


async def test_what_a_main_process_leaves_behind(server: RunningServer) -> None:
    """It has ended by itself: its daemons, one of them stopped, go with it before the record."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("leaves")
        with trio.fail_after(patient(20)):
            end = (await client.wait(job.handle)).end
        assert killing.processes_of(server) == []
    assert (end.reason, end.exit_code, end.processes_killed) == ("exited", 5, 2)
