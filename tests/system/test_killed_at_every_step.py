"""The server is killed before its n-th system call of a kind, for every n: hazard 45.

The calls are those by which something lasts: messages to the supervisor and to the client,
what goes into the database and the log, and lines of audit. Between them they fall into start,
run, stop and end of a job, which a client asks for again until it is answered.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import killing
import pytest
import trio
from failing import injecting
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

pytestmark = pytest.mark.root
T = TypeVar("T")

# Prints as it is told to end, so that the log grows in every phase.
COMMANDS = script(
    "job",
    "trap 'echo ending; exit 7' TERM; echo running; while :; do sleep 0.02; done",
    grace="5s",
) + script("ends", "echo running; echo error >&2; sleep 0.05; echo ending; exit 3")
CLIENTS = '[clients.alice]\ncommands = ["job", "ends"]\nstarts_per_minute = 100000\n'
# SQLite and the log's index; messages; audit; the log's bytes and new files of a job.
CALLS = ("pwrite64", "sendto", "write", "splice", "openat")
# Far more than a job's life has: the last ones kill nobody, which ends the walk.
MOST = 60


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def killed_at(pid: int, call: str, step: int) -> contextlib.AbstractContextManager[None]:
    """Process ``pid`` gets SIGKILL as its main thread enters its ``step``-th such call."""
    return injecting(pid, f"{call}:signal=SIGKILL:when={step}")


async def insist(server: RunningServer, ask: Callable[[Client], Awaitable[T]]) -> T:
    """Asks until somebody answers."""
    while True:
        try:
            async with connect(server.endpoint("alice")) as client:
                return await ask(client)
        except RpcError as error:
            if error.code is not StatusCode.UNAVAILABLE:
                raise
        except OSError:
            pass
        await trio.sleep(0.02)  # until a server listens there is nothing to wait for


async def live(server: RunningServer, command: str, request_id: str) -> pb.Job:
    """The life of one job, asked for step by step, whoever answers."""

    async def start(client: Client) -> pb.Job:
        return await client.start(command, request_id=request_id)

    async def read(client: Client) -> None:
        data = b""
        async with client.stream(started.handle) as messages:
            async for message in messages:
                data += message.data
                if b"running\n" in data:
                    return

    async def end(client: Client) -> pb.Job:
        if command == "ends":
            return await client.wait(started.handle)
        return (await client.stop(started.handle, reason="enough")).job

    started = await insist(server, start)
    await insist(server, read)
    ended = await insist(server, end)
    assert ended.handle == started.handle
    return ended


async def check(server: RunningServer, command: str, job: pb.Job, before: int) -> None:
    """One job, whole, under the handle that its client was told; and nothing else."""
    end = job.end
    async with connect(server.endpoint("alice")) as client:
        known = await client.jobs(include_finished=True)
        assert len(known) == before + 1
        assert len({each.handle for each in known}) == len(known)
        data, again = await killing.read_all(client, job.handle)
    assert again == end
    if command == "job":
        assert data == b"running\nending\n"
        assert (end.reason, end.exit_code, end.stop_reason) == ("stopped", 7, "enough")
        assert not end.escalated
    else:  # between two streams the order is that of arrival
        assert sorted(data.split(b"\n")) == [b"", b"ending", b"error", b"running"]
        assert (end.reason, end.exit_code) == ("exited", 3)
    assert end.output_bytes == len(data)
    assert not end.gaps
    assert killing.processes_of(server) == []


async def walk(
    server: RunningServer, command: str, call: str, steps: range, kills: list[int]
) -> None:
    """Until a step comes that the job's life does not have."""
    for step in steps:
        async with connect(server.endpoint("alice")) as client:
            before = len(await client.jobs(include_finished=True))
        pid = server.server_pid()
        with killed_at(pid, call, step):
            job = await live(server, command, f"{call} {step}")
        await check(server, command, job, before)
        if is_alive(pid):
            return
        kills.append(step)
    assert steps.stop < MOST, "the walk did not come to its end"


def is_alive(pid: int) -> bool:
    """It is the supervisor's child, which reaps it at once."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("command", ["job", "ends"])
@pytest.mark.parametrize("call", CALLS)
async def test_killed_at_every_step(server: RunningServer, call: str, command: str) -> None:
    """Whatever it was about to do: taken over, one job, nothing lost, nothing left."""
    kills: list[int] = []
    await walk(server, command, call, range(1, MOST), kills)
    assert len(kills) >= 2  # else nothing was tried


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("call", "steps"),
    [
        ("pwrite64", range(2, 7, 2)),
        pytest.param("sendto", range(3, 10, 3), marks=pytest.mark.slow),
    ],
)
async def test_killed_at_some_steps(server: RunningServer, call: str, steps: range) -> None:
    """The same at a few of them, in every run."""
    kills: list[int] = []
    await walk(server, "job", call, steps, kills)
    assert kills
