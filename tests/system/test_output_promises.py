"""A thousand readers of one job: whenever they join, they get identical bytes."""

import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from gates import ARGUMENTS, RELAY, Gate, started
from running import RunningServer, policy_text, running_server, script
from told import Told, follow, kept_sha256, numbered, numbered_bytes

from penstock.client import Client, connect

CONNECTIONS = 10
# What a thousand readers get goes through TLS on both ends of two cores: so 2 MB for each of them,
# and 100 MB for a few.
SHARED_BYTES = 2_000_000
MOMENTS = 50
LARGE_BYTES = 100_000_000
LARGE_READERS = 200
COMPLETE_READERS = 5
COMMANDS = (
    script("relay", RELAY)
    + ARGUMENTS
    + script("large", numbered(LARGE_BYTES))
    + 'output = "unlimited"\n'
)
CLIENTS = '[clients.alice]\ncommands = ["relay", "large"]\nmax_streams = 2000\n'


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    limits = {"streams_per_client": 2000}
    with running_server(policy_text(COMMANDS, CLIENTS), transport=limits) as server:
        yield server


class Crowd:
    """Readers of one job over several connections, each an account of its own."""

    def __init__(self, clients: list[Client], nursery: trio.Nursery) -> None:
        self.accounts: list[Told] = []
        self.handle = ""
        self._clients = clients
        self._nursery = nursery

    async def join(self, told: Told, *, begin: int = 0, bound: int | None = None) -> None:
        """Returns when the reader has begun. It reads to the end, or until ``bound``."""
        begun = trio.Event()
        client = self._clients[len(self.accounts) % len(self._clients)]
        self.accounts.append(told)

        def look(told: Told) -> bool:
            begun.set()
            return bound is not None and told.position >= bound

        async def read() -> None:
            await follow(client, self.handle, told, until=look, offset=begin)

        self._nursery.start_soon(read)
        await begun.wait()


@asynccontextmanager
async def crowd(server: RunningServer) -> AsyncIterator[Crowd]:
    """Left when all its readers have ended."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(connect(server.endpoint("alice")))
            for _ in range(CONNECTIONS)
        ]
        async with trio.open_nursery() as nursery:
            yield Crowd(clients, nursery)


async def print_in_moments(crowd: Crowd, gate: Gate, readers: int, seed: int) -> None:
    """All the output, in pieces of random size, while readers join.

    Those of a moment have begun before its piece, or are just beginning.
    """
    choice = random.Random(seed)
    edges = [0, *sorted(choice.sample(range(1, SHARED_BYTES), MOMENTS - 1)), SHARED_BYTES]
    joining = choice.choices(range(MOMENTS), k=readers)
    async with trio.open_nursery() as late:
        for moment in range(MOMENTS):
            async with trio.open_nursery() as early:
                for number in range(joining.count(moment)):
                    nursery = early if number % 2 else late
                    nursery.start_soon(crowd.join, Told(keep=False))
            await gate.write(numbered_bytes(edges[moment], edges[moment + 1]))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
async def test_all_readers_get_identical_bytes(server: RunningServer, count: int) -> None:
    """Whenever they join, each has the end record's SHA-256, which is the true one."""
    began = time.monotonic()
    async with connect(server.endpoint("alice")) as client, crowd(server) as readers:
        job, gate = await started(server, client, "relay", f"shared{count}")
        readers.handle = job.handle
        with gate:
            await print_in_moments(readers, gate, count, seed=1)
        end = (await client.wait(job.handle)).end
    assert end.output_bytes == SHARED_BYTES
    assert end.output_sha256 == kept_sha256(end, numbered_bytes)
    assert len(readers.accounts) == count
    for told in readers.accounts:
        assert told.check_complete() == end
        assert (told.begin, told.gaps) == (0, [])
        assert told.digest.hexdigest() == end.output_sha256
    print(f"{count} readers of {SHARED_BYTES} bytes: {time.monotonic() - began:.1f} s")


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_readers_join_anywhere_in_100_megabytes(server: RunningServer) -> None:
    """At random moments, at random offsets, for random ranges: true to the byte; a few read all."""
    choice = random.Random(2)
    moments = sorted(choice.sample(range(LARGE_BYTES), LARGE_READERS))
    began = time.monotonic()
    async with connect(server.endpoint("alice")) as client, crowd(server) as readers:
        job = await client.start("large")
        readers.handle = job.handle
        async with trio.open_nursery() as nursery:

            def join_those_who_are_due(told: Told) -> bool:
                while moments and moments[0] <= told.position:
                    begin = choice.randint(max(0, moments.pop(0) - 2_000_000), told.position)
                    bound = begin + choice.randint(1, 400_000)

                    async def join(begin: int = begin, bound: int = bound) -> None:
                        await readers.join(Told(numbered_bytes), begin=begin, bound=bound)

                    nursery.start_soon(join)
                return False

            for _ in range(COMPLETE_READERS - 1):
                await readers.join(Told(keep=False))
            first = Told(keep=False)
            await follow(client, job.handle, first, until=join_those_who_are_due)
    end = first.check_complete()
    assert end.output_bytes == LARGE_BYTES
    assert list(end.gaps) == []
    assert end.output_sha256 == kept_sha256(end, numbered_bytes)
    assert first.digest.hexdigest() == end.output_sha256
    complete = readers.accounts[: COMPLETE_READERS - 1]
    others = readers.accounts[COMPLETE_READERS - 1 :]
    assert len(others) == LARGE_READERS
    for told in complete:
        assert told.check_complete() == end
        assert told.digest.hexdigest() == end.output_sha256
    for told in others:
        assert told.gaps == []
        assert told.position == told.begin + told.received
    print(f"{LARGE_BYTES} bytes: {time.monotonic() - began:.1f} s")
