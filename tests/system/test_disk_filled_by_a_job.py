"""A job that fills the disk that all share: it ends, and nobody else loses anything."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from disks import MIB, loop_disk
from gates import ARGUMENTS, RELAY, started
from killing import until_served
from patience import patient
from running import RunningServer, policy_text, running_again, running_server, script
from supervisor_peer import wait_dead
from told import Told, at, follow, numbered_bytes

from penstock.client import Client, connect
from penstock.jobs.output.preallocation import AHEAD_BYTES
from penstock.proto import command_pb2 as pb

pytestmark = pytest.mark.root

DISK_BYTES = 192 * MIB
CLASSES = """
[classes.filling]
storage = "100MB"
needs = { disk = "direct_io", storage = "watched" }

[classes.many]
files = 1000
needs = { disk = "direct_io", storage = "watched" }

[classes.unbounded]
storage = "unlimited"
files = "unlimited"
"""
# Each goes on until not a block, or not a name, is left, and again whenever there is one.
BYTES = "i=0; while [ $i -lt 3 ]; do fallocate -l 60M $i; i=$((i+1)); done; "
BYTES += "for s in 4M 1M 64K 4K; do while fallocate -l $s f$i; do i=$((i+1)); done; done; "
BYTES += "echo full; while :; do fallocate -l 4K f$i && i=$((i+1)); done"
INODES = "i=0; while true > $i; do i=$((i+1)); done; echo full; "
INODES += "while :; do true > $i && i=$((i+1)); done"
COMMANDS = "".join(
    script(f"{name}-{limits}", text, limits=limits)
    for name, text, limits in (
        ("bytes", BYTES, "filling"),
        ("inodes", INODES, "many"),
        ("bytes", BYTES, "unbounded"),
        ("inodes", INODES, "unbounded"),
    )
)
COMMANDS += script("relay", RELAY, grace="1s") + ARGUMENTS + script("say", "echo said")
FILLERS = ", ".join(
    f'"{name}"' for name in ("bytes-filling", "inodes-many", "bytes-unbounded", "inodes-unbounded")
)
CLIENTS = f'[clients.alice]\ncommands = ["relay", "say"]\n[clients.bob]\ncommands = [{FILLERS}]\n'


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with loop_disk(DISK_BYTES) as disk:
        with running_server(
            policy_text(CLASSES + COMMANDS, CLIENTS),
            state_dir=str(disk / "state"),
            work_root=str(disk / "work"),
        ) as server:
            yield server


@asynccontextmanager
async def both(server: RunningServer) -> AsyncIterator[tuple[Client, Client]]:
    """Clients of alice and bob, for a bounded time: a full disk may keep them waiting."""
    with trio.fail_after(patient(15)):
        async with _both(server) as clients:
            yield clients


@asynccontextmanager
async def _both(server: RunningServer) -> AsyncIterator[tuple[Client, Client]]:
    async with connect(server.endpoint("alice")) as alice, connect(server.endpoint("bob")) as bob:
        yield alice, bob


async def printed_full(client: Client, job: pb.Job) -> None:
    async with client.stream(job.handle) as messages:
        async for message in messages:
            if b"full" in message.data:
                return


def disk_of(server: RunningServer) -> Path:
    (line,) = [
        line
        for line in (server.directory / "penstockd.toml").read_text().splitlines()
        if line.startswith("work_root")
    ]
    return Path(line.partition('"')[2].rstrip('"')).parent


@pytest.mark.parametrize(
    "filler", ["bytes-filling", pytest.param("inodes-many", marks=pytest.mark.slow)]
)
async def test_only_the_one_that_fills_it_ends(server: RunningServer, filler: str) -> None:
    """What others print meanwhile is kept, whole; starts are possible again afterwards."""
    async with both(server) as (alice, bob):
        job, gate = await started(server, alice, "relay", "job")
        with gate:
            await gate.write(numbered_bytes(0, 1000))
            full = await bob.start(filler)
            written = 1000
            with trio.fail_after(patient(20)):
                async with trio.open_nursery() as nursery:
                    ended = trio.Event()

                    async def until_it_ends() -> None:
                        end = (await bob.wait(full.handle)).end
                        assert end.reason == "storage_full"
                        ended.set()

                    nursery.start_soon(until_it_ends)
                    while not ended.is_set():
                        await gate.write(numbered_bytes(written, written + 10_000))
                        written += 10_000
                        await trio.sleep(0.02)
            await wait_room(server)
            said = await alice.start("say")
            assert (await alice.wait(said.handle)).end.reason == "exited"
            assert (await alice.status(job.handle)).job.state == pb.JOB_STATE_RUNNING
            gate.close()
        end = (await alice.wait(job.handle)).end
        told = await follow(alice, job.handle, Told(numbered_bytes))
        assert told.check_complete() == end
    assert (end.output_bytes, list(end.gaps)) == (written, [])


async def wait_room(server: RunningServer) -> None:
    """What the job had is being removed; nobody is told when it is gone."""
    with trio.fail_after(patient(10)):
        while True:
            disk = os.statvfs(disk_of(server))
            if disk.f_bavail * disk.f_frsize >= 32 * MIB and disk.f_favail >= 100:
                return
            await trio.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("filler", ["bytes-unbounded", "inodes-unbounded"])
async def test_a_server_that_is_killed_on_a_full_disk_comes_back(
    server: RunningServer, filler: str
) -> None:
    """Nobody ends what fills it: records, audit and output have their reserve."""
    async with both(server) as (alice, bob):
        job, gate = await started(server, alice, "relay", "job")
        with gate:
            await gate.write(numbered_bytes(0, 1000))
            full = await bob.start(filler)
            await printed_full(bob, full)
            half = AHEAD_BYTES // 4
            await gate.write(numbered_bytes(1000, half))
            told = await follow(alice, job.handle, Told(numbered_bytes), until=at(half))
            assert list(told.gaps) == []
            before = server.server_pid()
            os.kill(before, signal.SIGKILL)
            await until_served(server, before)
            async with both(server) as (alice_again, bob_again):
                status = (await bob_again.status(full.handle)).job
                assert status.state == pb.JOB_STATE_RUNNING
                await gate.write(numbered_bytes(half, 2 * half))
                gate.close()
                end = (await alice_again.wait(job.handle)).end
                told = await follow(alice_again, job.handle, Told(numbered_bytes))
                assert told.check_complete() == end
                assert (end.reason, end.output_bytes, list(end.gaps)) == ("exited", 2 * half, [])
                stopped = (await bob_again.stop(full.handle)).job.end
                assert (stopped.reason, stopped.stopped_by) == ("stopped", "bob")
                await wait_room(server)
                said = await alice_again.start("say")
                assert (await alice_again.wait(said.handle)).end.reason == "exited"


@pytest.mark.slow
async def test_penstockd_is_killed_on_a_full_disk_and_starts_again(server: RunningServer) -> None:
    """All of it: the next one sweeps, and what was printed is there."""
    async with both(server) as (alice, bob):
        job, gate = await started(server, alice, "relay", "job")
        with gate:
            await gate.write(numbered_bytes(0, 100_000))
            await follow(alice, job.handle, Told(numbered_bytes), until=at(100_000))
            full = await bob.start("bytes-unbounded")
            await printed_full(bob, full)
            server_pid = server.server_pid()
            server.process.kill()
            os.kill(server_pid, signal.SIGKILL)
            await trio.to_thread.run_sync(server.process.wait)
            assert await trio.to_thread.run_sync(wait_dead, server_pid)  # and listens no more
    with running_again(server):
        async with both(server) as (alice, bob):
            lost = (await alice.status(job.handle)).job
            assert lost.end.reason == "lost"
            told = await follow(alice, job.handle, Told(numbered_bytes))
            assert (told.position, list(told.gaps)) == (100_000, [])
            assert (await bob.status(full.handle)).job.end.reason == "lost"
            said = await alice.start("say")
            assert (await alice.wait(said.handle)).end.reason == "exited"
