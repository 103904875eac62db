"""Finished jobs: how long they are kept, who makes room for whom, and what is left of them."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
from patience import patient
from restarts import connected_again, kill_server
from running import RunningServer, policy_text, running_server, script
from told import Told, follow, kept_sha256, numbered, numbered_bytes, spans, streaming

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

PRINTED = 300_000
LIMIT_BYTES = 131_072
BUDGETS = """
[output]
client = "1000KB"
server = "1400KB"
keep_jobs = 5
keep = "{keep}"
"""
COMMANDS = (
    script("print", numbered(PRINTED))
    + script("say", "echo kept")
    + script("oldest", numbered(PRINTED))
    + 'output = "128KiB"\nwhen_full = "drop_oldest"\n'
    + script("newest", numbered(PRINTED))
    + 'output = "128KiB"\nwhen_full = "drop_newest"\n'
    + script("idle", f"{numbered(10)}; sleep 300", grace="100ms")
    + script("much", f"{numbered(8_000_000)}")
    + 'output = "unlimited"\n'
)
NAMES = ", ".join([f'"{name}"' for name in ("print", "say", "oldest", "newest", "idle", "much")])
CLIENTS = "".join([f"[clients.{name}]\ncommands = [{NAMES}]\n" for name in ("alice", "bob")])


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """Without bounds that matter."""
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


@pytest.fixture
def small_server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """With small budgets; ``keep`` may be the test's own."""
    budgets = BUDGETS.replace("{keep}", getattr(request, "param", "1h"))
    with running_server(policy_text(COMMANDS, budgets + CLIENTS)) as server:
        yield server


async def run(client: Client, command: str) -> pb.Job:
    return await client.wait((await client.start(command)).handle)


async def remove(client: Client, handle: str) -> pb.Job:
    answer = await client._channel.unary(
        "teleport.CommandService", "Remove", pb.RemoveRequest(pid=handle), pb.RemoveResponse
    )
    return answer.job


async def handles(client: Client) -> list[str]:
    """Of all jobs, oldest first."""
    return [job.handle for job in await client.jobs(include_finished=True)][::-1]


async def are(client: Client, expected: list[str]) -> bool:
    return await handles(client) == expected


async def wait_until(holds: Callable[[], Awaitable[bool]]) -> None:
    """What happens behind an answer is told to nobody."""
    with trio.fail_after(patient(10)):
        while True:
            if await holds():
                return
            await trio.sleep(0.02)


async def refusal(client: Client, method: str, handle: str) -> RpcError:
    """The error of a call about a job."""
    messages = {
        "Status": (pb.StatusRequest, pb.StatusResponse),
        "Wait": (pb.WaitRequest, pb.WaitResponse),
        "Stop": (pb.StopRequest, pb.StopResponse),
        "Remove": (pb.RemoveRequest, pb.RemoveResponse),
        "StreamOutput": (pb.StreamOutputRequest, pb.StreamOutputResponse),
    }
    request, response = messages[method]
    with pytest.raises(RpcError) as caught:
        await client._channel.unary(
            "teleport.CommandService", method, request(pid=handle), response
        )
    return caught.value


def as_text(error: RpcError, handle: str) -> str:
    """Everything that it says, but for the handle that was asked for."""
    return f"{error.code} {error.message} {error.details}".replace(handle, "HANDLE")


async def check_exact(client: Client, end: pb.EndRecord, handle: str) -> None:
    told = await follow(client, handle, Told(numbered_bytes))
    assert told.check_complete() == end
    assert spans(told.gaps) == spans(end.gaps)
    assert told.digest.hexdigest() == end.output_sha256 == kept_sha256(end, numbered_bytes)


def logs(server: RunningServer) -> set[Path]:
    return set((server.directory / "state" / "jobs").iterdir())


async def wait_removed(server: RunningServer, count: int) -> None:
    """Files are removed behind the answer, and nobody is told."""

    async def removed() -> bool:
        return len(logs(server)) <= count

    await wait_until(removed)


async def test_a_clients_new_output_pushes_out_its_own_oldest_alone(
    small_server: RunningServer,
) -> None:
    """1000 KB for alice: of four jobs of 300 KB the first is gone, and bob's is untouched."""
    async with (
        connect(small_server.endpoint("alice")) as alice,
        connect(small_server.endpoint("bob")) as bob,
    ):
        kept = await run(bob, "print")
        jobs = [await run(alice, "print") for _ in range(4)]
        assert await handles(alice) == [job.handle for job in jobs[1:]]
        assert await handles(bob) == [kept.handle]
        for client, job in [(bob, kept), *((alice, job) for job in jobs[1:])]:
            assert list(job.end.gaps) == []
            await check_exact(client, job.end, job.handle)
        assert (await refusal(alice, "Status", jobs[0].handle)).code is StatusCode.NOT_FOUND
        await wait_removed(small_server, 4)


async def test_the_server_takes_from_who_has_most(small_server: RunningServer) -> None:
    """1400 KB for all: bob's second job takes the place of alice's oldest, not of his own."""
    async with (
        connect(small_server.endpoint("alice")) as alice,
        connect(small_server.endpoint("bob")) as bob,
    ):
        hers = [await run(alice, "print") for _ in range(3)]
        his = [await run(bob, "print") for _ in range(2)]
        assert await handles(alice) == [job.handle for job in hers[1:]]
        assert await handles(bob) == [job.handle for job in his]


async def test_only_so_many_finished_jobs_are_kept(small_server: RunningServer) -> None:
    """`keep_jobs = 5`: the oldest goes when the sixth has ended."""
    async with connect(small_server.endpoint("alice")) as client:
        jobs = [await run(client, "say") for _ in range(6)]
        await wait_until(lambda: are(client, [job.handle for job in jobs[1:]]))
        await wait_removed(small_server, 5)


@pytest.mark.slow
@pytest.mark.parametrize("small_server", ["1500ms"], indirect=True)
async def test_finished_jobs_are_kept_so_long(small_server: RunningServer) -> None:
    """`keep`: a finished job is forgotten by itself, a running one is not."""
    async with connect(small_server.endpoint("alice")) as client:
        idle = await client.start("idle")
        say = await run(client, "say")
        assert await handles(client) == [idle.handle, say.handle]
        await wait_until(lambda: are(client, [idle.handle]))
        await client.stop(idle.handle)


async def test_history_survives_a_kill_of_the_server(server: RunningServer) -> None:
    """SIGKILL: the next server has the same jobs, end records, gaps and bytes."""
    async with connect(server.endpoint("alice")) as client:
        jobs = [await run(client, command) for command in ("print", "oldest", "newest")]
    assert [{gap.reason for gap in job.end.gaps} for job in jobs] == [
        set(),
        {"retention"},
        {"quota"},
    ]
    await kill_server(server)
    async with connected_again(server, "alice") as client:
        for job in jobs:
            assert (await client.status(job.handle)).job == job
            await check_exact(client, job.end, job.handle)


async def test_a_removed_job_is_as_one_that_never_was(server: RunningServer) -> None:
    """Every call about it is answered like one about an unknown or foreign job; files are gone."""
    async with (
        connect(server.endpoint("alice")) as alice,
        connect(server.endpoint("bob")) as bob,
    ):
        before = logs(server)
        job = await run(alice, "print")
        methods = ("Status", "Wait", "Stop", "Remove", "StreamOutput")
        foreign = {each: await refusal(bob, each, job.handle) for each in methods}
        assert await remove(alice, job.handle) == job
        for method, error in foreign.items():
            assert error.code is StatusCode.NOT_FOUND
            removed = await refusal(alice, method, job.handle)
            unknown = await refusal(alice, method, "4123456789")
            assert as_text(removed, job.handle) == as_text(error, job.handle)
            assert as_text(removed, job.handle) == as_text(unknown, "4123456789")
        assert job.handle not in await handles(alice)
        await wait_removed(server, len(before))
        assert logs(server) == before


async def test_a_running_job_is_not_removed(server: RunningServer) -> None:
    """FAILED_PRECONDITION, NOT_FINISHED, and it runs on."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("idle")
        error = await refusal(client, "Remove", job.handle)
        assert error.code is StatusCode.FAILED_PRECONDITION
        assert "NOT_FINISHED" in str(error.details)
        assert (await client.status(job.handle)).job.state == pb.JOB_STATE_RUNNING
        await client.stop(job.handle)
        assert (await remove(client, job.handle)).end.reason == "stopped"


async def test_who_reads_a_job_that_is_removed_is_told_of_a_gap_and_its_end(
    server: RunningServer,
) -> None:
    """The bytes it has had are true, the rest is one gap, and the end record comes."""
    told = Told(numbered_bytes)
    async with connect(server.endpoint("alice")) as client:
        job = await run(client, "much")
        async with streaming(client, job.handle) as messages:
            while told.received < 100_000:
                told.take(await anext(messages))
            await remove(client, job.handle)
            await told.take_all(messages)
    assert told.check_complete() == job.end
    ((begin, stop, reason),) = spans(told.gaps)
    assert (begin, stop, reason) == (told.received, job.end.output_bytes, "retention")
