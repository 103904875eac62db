"""What an agent has is what it had, after thousands of front ends."""

import os

import pytest
import trio
from agents import AgentPlace, until
from fake_service import FakeServer, FakeService, fake_server
from process_counts import Counts, memory_bytes

from penstock.proto import command_pb2 as pb

_MIB = 2**20


async def one(server: FakeServer, agent: AgentPlace) -> None:
    """A verb that is answered, and says nothing else."""
    done = await trio.run_process(
        [str(agent.program), "status", "5"],
        env={"PATH": os.environ["PATH"], **server.environment(), **agent.environment()},
        capture_stdout=True,
        capture_stderr=True,
    )
    assert b"is running" in done.stdout
    assert done.stderr == b""


@pytest.mark.root
@pytest.mark.parametrize(
    ("in_a_row", "at_once"),
    [
        pytest.param(200, 100, marks=[pytest.mark.slow, pytest.mark.timeout(240)]),
        pytest.param(2000, 500, marks=[pytest.mark.release, pytest.mark.timeout(1200)]),
    ],
)
async def test_descriptors_threads_and_memory_are_back(
    agent: AgentPlace, in_a_row: int, at_once: int
) -> None:
    """One after the other, and as many at once, some of which run the full program. Root, because
    an agent's descriptors are nobody else's to see."""
    assert agent.process is not None
    pid = agent.process.pid
    service = FakeService()
    service.statuses["5"] = pb.StatusResponse(status="Job 5 is running.", job=service.job)
    async with fake_server(service) as server:
        for _ in range(50):  # what is loaded and kept once
            await one(server, agent)
        await until(agent, lambda state: not state["running"])
        before = Counts(pid)
        for _ in range(in_a_row):
            await one(server, agent)
        assert agent.state()["served"] == 50 + in_a_row
        assert memory_bytes(pid) - before.memory_bytes < 4 * _MIB
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for _ in range(at_once):
                    nursery.start_soon(one, server, agent)
        await until(agent, lambda state: not state["running"])
        # Several connections were there at once, and go when they are not used for ten minutes.
        spare = len(agent.state()["connections"]) - 1
        before.descriptors += spare
        await trio.to_thread.run_sync(before.wait_back)
        assert memory_bytes(pid) - before.memory_bytes < 16 * _MIB
        assert not agent.log.exists()
