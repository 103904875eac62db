"""Bytes received + gaps announced = bytes produced: any job and any readers, on the real server.

The same promise as tests/jobs/test_conservation.py, through processes, pipes, disk and TLS.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from gates import ARGUMENTS, RELAY, Gate, started
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import patient
from printed import Log, Printed
from restarts import connected_again, kill_server
from running import RunningServer, policy_text, running_server, script
from told import Told, at, follow, spans

from penstock.client import connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost
from penstock.text.stream_decoder import REPLACEMENT

BOUNDS = {
    "all": 'output = "unlimited"\n',
    "oldest": 'output = "128KiB"\nwhen_full = "drop_oldest"\n',
    "newest": 'output = "128KiB"\nwhen_full = "drop_newest"\n',
}
COMMANDS = "".join([script(name, RELAY) + bound + ARGUMENTS for name, bound in BOUNDS.items()])
CLIENTS = f"""
[clients.alice]
commands = {list(BOUNDS)}
max_streams = 500
max_running = 50
starts_per_minute = 1000
"""
EXAMPLES = 40
KILLED_AT = 300_000
names = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


@dataclass(frozen=True)
class Plan:
    """One reader: when it joins, what it asks for, and after how many messages it is cut."""

    joins: float
    wish: dict[str, Any]
    cuts: list[int]
    stalls: bool


wishes = st.fixed_dictionaries(
    {},
    optional={
        "raw": st.booleans(),
        "streams": st.sampled_from([[pb.STREAM_STDOUT], [pb.STREAM_STDERR]]),
        "heartbeat_s": st.just(0.1),
        "begin": st.sampled_from(["tail_lines", "since_ns", "offset"]),
    },
)
plans = st.builds(
    Plan,
    st.floats(0, 1),
    wishes,
    st.lists(st.integers(1, 8), max_size=3),
    st.booleans(),
)
writes = st.lists(
    st.tuples(st.sampled_from([1, 2]), st.one_of(st.integers(1, 40), st.integers(5_000, 60_000))),
    min_size=1,
    max_size=12,
)


async def read(
    server: RunningServer, job: pb.Job, plan: Plan, printed: trio.Event, told: Told
) -> None:
    """As planned: cut, by an end of the connection, and resumed at next_offset; or stalled."""
    wish = dict(plan.wish)
    match wish.pop("begin", None):
        case "tail_lines":
            wish["tail_lines"] = 3
        case "since_ns":
            wish["since_ns"] = job.started_ns + 5_000_000
        case "offset":
            async with connect(server.endpoint("alice")) as client:
                reached = (await client.status(job.handle)).job.output_next_offset
            wish["offset"] = int(plan.joins * reached)
    for count in plan.cuts:
        bound = told.messages + count
        async with connect(server.endpoint("alice")) as client:
            await follow(
                client,
                job.handle,
                told,
                until=lambda told, bound=bound: told.messages >= bound,  # type: ignore[misc]
                **wish,
            )
        if told.end is not None:
            return
        if plan.stalls:
            await printed.wait()
    async with connect(server.endpoint("alice")) as client:
        await follow(client, job.handle, told, **wish)


async def one_job(
    server: RunningServer, command: str, pieces: list[tuple[int, int]], readers: list[Plan]
) -> None:
    printed, done = Printed(), trio.Event()
    accounts = [Told() for _ in readers]
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, command, f"job{next(names)}")
        with gate:
            async with trio.open_nursery() as nursery:
                for moment, (stream, size) in enumerate(pieces):
                    for plan, told in zip(readers, accounts, strict=True):
                        if int(plan.joins * len(pieces)) == moment:
                            nursery.start_soon(read, server, job, plan, done, told)
                    await gate.write(printed.next(stream, size), stream)
                for plan, told in zip(readers, accounts, strict=True):
                    if int(plan.joins * len(pieces)) >= len(pieces):
                        nursery.start_soon(read, server, job, plan, done, told)
                gate.close()
                done.set()
        end = (await client.wait(job.handle)).end
        last = await follow(client, job.handle)
    assert end.output_bytes == sum(len(data) for data in printed.streams.values())
    assert spans(last.gaps) == spans(end.gaps)
    assert last.digest.hexdigest() == end.output_sha256
    log = Log(end.output_bytes)
    for told in (last, *accounts):
        assert told.check_complete() == end
        log.add(told)
    log.check(printed, complete=not end.gaps)
    if not end.gaps:
        check_texts(last, readers, accounts)


def check_texts(last: Told, readers: list[Plan], accounts: list[Told]) -> None:
    """Where nothing is missing a text is the decoded bytes from where it began."""
    for plan, told in zip(readers, accounts, strict=True):
        if plan.wish.get("raw", True):
            continue
        for stream in plan.wish.get("streams", [1, 2]):
            whole = last.data(stream)
            before = sum(
                min(len(data), max(0, told.begin - offset))
                for offset, number, data in last.pieces
                if number == stream
            )
            # It begins with the whole of a character that it begins in: é has two bytes.
            before -= whole[before - 1 : before] == "é".encode()[:1]
            expected = whole[before:].decode(errors="replace")
            # A last character that is never whole is told of again after a cut that comes
            # between it and the end record.
            assert told.text.get(stream, "").rstrip(REPLACEMENT) == expected.rstrip(REPLACEMENT)


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    command=st.sampled_from(list(BOUNDS)),
    pieces=writes,
    readers=st.lists(plans, min_size=1, max_size=6),
)
def test_every_byte_is_received_or_announced(
    server: RunningServer, command: str, pieces: list[tuple[int, int]], readers: list[Plan]
) -> None:
    """Readers that join, stall, are cut and resume, with filters, text and raw, from anywhere."""

    async def bounded() -> None:
        with trio.fail_after(patient(20)):
            await one_job(server, command, pieces, readers)

    trio.run(bounded)


async def keep_printing(gate: Gate, printed: Printed, enough: trio.Event) -> None:
    """Then the job's output ends, and so does the job."""
    with gate:
        for number in itertools.count():
            if enough.is_set():
                return
            stream = 1 + number % 2
            await gate.write(printed.next(stream, 997), stream)


async def follow_until_lost(
    server: RunningServer, handle: str, told: Told, reached: trio.Event
) -> None:
    def look(told: Told) -> bool:
        if told.position >= KILLED_AT:
            reached.set()
        return False

    try:
        async with connect(server.endpoint("alice")) as client:
            await follow(client, handle, told, until=look)
    except ConnectionLost:
        return


@pytest.mark.parametrize("command", BOUNDS)
async def test_a_killed_server_keeps_what_has_left_the_pipe(
    server: RunningServer, command: str
) -> None:
    """SIGKILL while the job prints: it prints on, and the next server has every byte of it."""
    printed, told = Printed(), Told()
    reached, enough = trio.Event(), trio.Event()
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, command, f"killed{command}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_printing, gate, printed, enough)
        nursery.start_soon(follow_until_lost, server, job.handle, told, reached)
        await reached.wait()
        await kill_server(server)
        async with connected_again(server, "alice") as client:
            await follow(client, job.handle, told, until=at(told.position + KILLED_AT))
            enough.set()
            await follow(client, job.handle, told)
            late = await follow(client, job.handle)
            end = (await client.status(job.handle)).job.end
    assert (end.reason, end.exit_code) == ("exited", 0)
    assert told.check_complete() == late.check_complete() == end
    if command != "newest":  # what was being left out in that very moment may not be counted
        assert end.output_bytes == sum(len(data) for data in printed.streams.values())
    assert spans(late.gaps) == spans(end.gaps)
    log = Log(end.output_bytes)
    log.add(told)
    log.add(late)
    log.check(printed, complete=command == "all")


async def test_a_quiet_job_has_lost_nothing_when_the_server_was_killed(
    server: RunningServer,
) -> None:
    """SIGKILL when all that was printed has left the pipe: every byte of it is there."""
    printed = Printed()
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "all", "quiet")
        with gate:
            for stream, size in ((1, 50_000), (2, 70_001), (1, 3)):
                await gate.write(printed.next(stream, size), stream)
            await follow(client, job.handle, until=at(120_004))
            await kill_server(server)
    async with connected_again(server, "alice") as client:
        told = await follow(client, job.handle)
    assert (told.check_complete().reason, told.received, told.gaps) == ("exited", 120_004, [])
    assert {stream: told.data(stream) for stream in (1, 2)} == printed.streams
