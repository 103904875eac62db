"""What clients can make a real server write into its audit log, at their worst.

Row 63 of the hazards, and B7 of what outsiders found.
"""

import hashlib
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
from google.rpc.error_details_pb2 import RetryInfo
from patience import patient
from running import RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.audit_lines import MAX_LINE_BYTES
from penstock.server.rate_limits import COSTLY_BURST, COSTLY_PER_S
from penstock.server.repeat_budget import MAX_KNOWN

COMMANDS = (
    script("idle", "sleep 300")
    + '[commands.true]\npath = "/bin/true"\nclass = "free"\n@user\n'
    + 'arguments = [{repeat = {slot = {pattern = "[\\u0001-~]{0,256}"}, max = 500}}]\n'
)
CLIENTS = """
[clients.alice]
commands = ["idle", "true"]
starts_per_minute = 600
max_running = 100
[clients.bob]
commands = ["idle"]
"""


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def lines(server: RunningServer) -> list[bytes]:
    return (server.directory / "state" / "audit.jsonl").read_bytes().splitlines(keepends=True)


def ended(server: RunningServer) -> list[dict[str, Any]]:
    """The whole log, once penstockd has ended in order."""
    server.process.terminate()
    server.process.wait(patient(20))
    return server.audit()


async def test_the_longest_granted_start_is_short_lines(server: RunningServer) -> None:
    """Of its decision, its running and its end; what was cut is told by its digest. As control
    characters 500 arguments of 256 are too long for the supervisor, but were granted before."""
    nasty, longest = ["\x01" * 256] * 500, ["x" * 256] * 500
    async with connect(server.endpoint("alice")) as client:
        before = len(lines(server))
        with pytest.raises(RpcError) as caught:
            await client.start("true", nasty)
        assert caught.value.code is StatusCode.INVALID_ARGUMENT
        await client.wait((await client.start("true", longest)).handle)
    found = lines(server)[before:]
    assert max(map(len, found)) <= MAX_LINE_BYTES
    assert sum(map(len, found)) < 20_000
    told = [line for line in server.audit()[before:] if "argv_sha256" in line]
    assert [line["event"] for line in told] == [
        *("decision", "decision", "job.running", "job.finished")
    ]
    for line, argv in zip(told, (nasty, longest), strict=False):
        data = b"".join(text.encode() + b"\0" for text in argv)
        assert (line["argv_count"], line["argv_bytes"]) == (500, len(data))
        assert line["argv_sha256"] == hashlib.sha256(data).hexdigest()
    assert told[2]["argv_sha256"] == told[3]["argv_sha256"]


async def in_time(ask: Callable[[str], Awaitable[object]], handle: str) -> None:
    """Once it is not too early for one more start."""
    while True:
        try:
            await ask(handle)
            return
        except RpcError as error:
            (wait,) = [each for each in error.details if isinstance(each, RetryInfo)]
            await trio.sleep(wait.retry_delay.ToNanoseconds() / 1e9)


@pytest.mark.slow
async def test_reads_cannot_fill_the_log(server: RunningServer) -> None:
    """Every read, as fast as one client can: some lines, and a count of all the rest when the
    server ends; none that was answered is missing."""
    async with connect(server.endpoint("alice")) as client:
        jobs = [(await client.start("true")).handle for _ in range(MAX_KNOWN + 5)]
        for handle in jobs:
            await client.wait(handle)
        before = len(lines(server))
        # Of those waits some have a count already, which is not told yet.
        answered = Counter(wait=len(jobs) - MAX_KNOWN)

        async def stream(handle: str) -> None:
            async with client.stream(handle, follow=False) as messages:
                async for _ in messages:
                    pass

        async def ask_whether(command: str, argument: str) -> None:
            request = pb.StartRequest(command=command, argv=[argument], validate_only=True)
            await client._channel.unary(
                "teleport.CommandService", "Start", request, pb.StartResponse
            )

        asks: dict[str, Callable[[str], Awaitable[object]]] = {
            "status": client.status,
            "wait": client.wait,
            "list": lambda handle: client.jobs(),
            "stop": client.stop,
            "stream": stream,
            "start": lambda handle: ask_whether("true", handle),
        }
        for verb, ask in asks.items():
            for handle in [*jobs, *jobs[:1] * 50]:
                await in_time(ask, handle)
                answered[verb] += 1
        assert len(lines(server)) - before <= len(asks) * MAX_KNOWN
    log = ended(server)[before:]
    assert len(log) < 3 * len(asks) * MAX_KNOWN
    written = Counter(line["verb"] for line in log if line.get("allowed"))
    counted: Counter[str] = Counter()
    for line in log:
        if line["event"] == "decisions.repeated":
            assert line["client"] == "alice"
            counted[line["verb"]] += line["count"]
    assert written + counted == answered
    assert all(counted[verb] >= 50 for verb in asks)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
async def test_counts_are_told_at_every_end(server: RunningServer, number: signal.Signals) -> None:
    """Also at that of a server whose jobs the next one takes over."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("idle")
        for _ in range(10):
            await client.status(job.handle)
    server.process.send_signal(number)
    with trio.fail_after(patient(20)):
        while True:
            told = [line for line in server.audit() if line["event"] == "decisions.repeated"]
            if told:
                break
            await trio.sleep(0.05)
    assert [(line["verb"], line["job"] != "", line["count"]) for line in told] == [
        ("status", True, 9)
    ]


async def test_starts_have_a_rate_whatever_they_are(server: RunningServer) -> None:
    """Refused by form and by grammar, and those that only ask: all of one client together, and of
    no other; how long to wait is said, and then there is room."""
    requests = [
        pb.StartRequest(command=""),
        pb.StartRequest(command="idle", argv=["no"]),
        pb.StartRequest(command="true", validate_only=True),
    ]
    codes: Counter[str] = Counter()
    exhausted: list[RpcError] = []

    async def start(client: Client, request: pb.StartRequest) -> None:
        try:
            await client._channel.unary(
                "teleport.CommandService", "Start", request, pb.StartResponse
            )
            codes["OK"] += 1
        except RpcError as error:
            codes[error.code.name] += 1
            if error.code is StatusCode.RESOURCE_EXHAUSTED:
                exhausted.append(error)

    async with connect(server.endpoint("alice")) as client, connect(server.endpoint("bob")) as bob:
        begin = trio.current_time()
        for _ in range(COSTLY_BURST // 60 + 1):
            async with trio.open_nursery() as nursery:
                for number in range(90):
                    nursery.start_soon(start, client, requests[number % 3])
        took_s = trio.current_time() - begin
        others = codes["OK"] + codes["INVALID_ARGUMENT"] + codes["PERMISSION_DENIED"]
        assert COSTLY_BURST <= others <= COSTLY_BURST + COSTLY_PER_S * took_s + 1
        assert exhausted
        (wait,) = [each for each in exhausted[-1].details if isinstance(each, RetryInfo)]
        assert 0 < wait.retry_delay.ToNanoseconds() <= 1e9 / COSTLY_PER_S
        await bob.server_info()
        await start(bob, requests[1])
        assert codes["RESOURCE_EXHAUSTED"] == len(exhausted) == 180 - others
        await trio.sleep(2 / COSTLY_PER_S)
        before = codes["OK"]
        await start(client, requests[2])
        assert codes["OK"] == before + 1
    refused = [line for line in server.audit() if line.get("allowed") is False]
    assert sum("a second" in line["message"] for line in refused) == len(exhausted)
