"""A disk of 12 MiB that is full, and freed later: each policy does what it says, and says it."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio
from disks import MIB, Filler, small_disk
from gates import ARGUMENTS, RELAY, Gate, started
from running import RunningServer, policy_text, running_server, script
from told import Told, at, follow, kept_sha256, numbered_bytes, quiet, spans

from penstock.client import Client, connect
from penstock.jobs.output.segment_chain import RESERVE_BYTES
from penstock.proto import command_pb2 as pb

pytestmark = pytest.mark.root

POLICIES = ("drop_oldest", "drop_newest", "wait", "stop")
# The filler leaves room for half of what the job prints.
ROOM_BYTES = 2 * MIB
PRINTED = 4_000_000
MORE = 9_000
COMMANDS = script("say", "echo kept") + "".join(
    [
        script(name, RELAY, grace="1s") + f'output = "4MiB"\nwhen_full = "{name}"\n' + ARGUMENTS
        for name in POLICIES
    ]
)
NAMES = ", ".join([f'"{name}"' for name in ("say", *POLICIES)])
CLIENTS = f"[clients.alice]\ncommands = [{NAMES}]\n"


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk() as disk:
        yield disk


@pytest.fixture
def server(disk: Path) -> Iterator[RunningServer]:
    text = policy_text(COMMANDS, CLIENTS)
    with running_server(text, state_dir=str(disk), audit_log=f"{disk}/audit") as server:
        yield server


@dataclass
class Printing:
    """A job that prints to a disk which is almost full, and a reader that is there all along."""

    client: Client
    job: pb.Job
    gate: Gate
    filler: Filler
    live: Told = field(default_factory=lambda: Told(numbered_bytes))
    printed: trio.Event = field(default_factory=trio.Event)
    """The job's output has left the test."""
    followed: trio.Event = field(default_factory=trio.Event)

    async def print(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it was stopped
            await self.gate.write(numbered_bytes(0, PRINTED))
            self.printed.set()

    async def follow(self) -> None:
        await follow(self.client, self.job.handle, self.live)
        self.followed.set()

    async def check_both_readers(self, end: pb.EndRecord) -> None:
        late = await follow(self.client, self.job.handle, Told(numbered_bytes))
        assert late.check_complete() == end
        assert spans(late.gaps) == spans(end.gaps)
        assert late.digest.hexdigest() == end.output_sha256 == kept_sha256(end, numbered_bytes)
        await self.followed.wait()
        assert self.live.check_complete() == end


@asynccontextmanager
async def printing(server: RunningServer, disk: Path, policy: str) -> AsyncIterator[Printing]:
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, policy, "job")
        with gate:
            printing = Printing(client, job, gate, Filler(disk, RESERVE_BYTES + ROOM_BYTES))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(printing.print)
                nursery.start_soon(printing.follow)
                yield printing


async def quiet_position(job: Printing) -> int:
    told = await follow(job.client, job.job.handle, until=quiet, heartbeat_s=0.3)
    return told.position


async def test_a_job_that_waits_goes_on_by_itself_when_the_disk_is_freed(
    server: RunningServer, disk: Path
) -> None:
    """`wait`: it stands still, running; then every byte is there, without a gap."""
    async with printing(server, disk, "wait") as job:
        still, before = await quiet_position(job), -1
        while not still or still != before:  # it has not begun to print, or is slow
            still, before = await quiet_position(job), still
        full = (await job.client.status(job.job.handle)).job
        assert still <= ROOM_BYTES
        assert (full.state, full.output_next_offset) == (pb.JOB_STATE_RUNNING, still)
        assert not job.printed.is_set()
        job.filler.free()
        await job.printed.wait()
        job.gate.close()
        end = (await job.client.wait(job.job.handle)).end
        await job.check_both_readers(end)
    assert (end.reason, end.exit_code, end.output_bytes) == ("exited", 0, PRINTED)
    assert list(end.gaps) == list(job.live.gaps) == []


async def test_newest_output_is_left_out_until_the_disk_is_freed(
    server: RunningServer, disk: Path
) -> None:
    """`drop_newest`: one gap with the reason disk; what is printed after it is kept again."""
    async with printing(server, disk, "drop_newest") as job:
        await job.printed.wait()
        await follow(job.client, job.job.handle, until=at(PRINTED))
        job.filler.free()
        printed = PRINTED
        kept = False
        while not kept:  # the disk tells nobody that it has room: the server tries now and then
            await job.gate.write(numbered_bytes(printed, printed + MORE))
            said = await follow(
                job.client, job.job.handle, until=at(printed + MORE), offset=printed
            )
            kept = said.received == MORE
            printed += MORE
            await trio.sleep(0.05)
        job.gate.close()
        end = (await job.client.wait(job.job.handle)).end
        await job.check_both_readers(end)
    assert (end.reason, end.exit_code, end.output_bytes) == ("exited", 0, printed)
    ((begin, stop, reason),) = spans(end.gaps)
    assert 0 < begin <= ROOM_BYTES
    assert PRINTED <= stop <= printed - MORE
    assert reason == "disk"
    assert spans(job.live.gaps) == spans(end.gaps)


async def test_oldest_output_makes_room_on_a_full_disk(server: RunningServer, disk: Path) -> None:
    """`drop_oldest`: the job is not held up, its last bytes are there, the gap says retention."""
    async with printing(server, disk, "drop_oldest") as job:
        await job.printed.wait()
        job.gate.close()
        end = (await job.client.wait(job.job.handle)).end
        await job.check_both_readers(end)
    assert (end.reason, end.exit_code, end.output_bytes) == ("exited", 0, PRINTED)
    ((begin, stop, reason),) = spans(end.gaps)
    assert (begin, reason) == (0, "retention")
    assert PRINTED - ROOM_BYTES <= stop < PRINTED
    assert {gap.reason for gap in job.live.gaps} <= {"retention"}


async def test_a_full_disk_ends_the_job_and_not_the_server(
    server: RunningServer, disk: Path
) -> None:
    """`stop`: output_failed with the disk's own words; records of other jobs still fit."""
    async with connect(server.endpoint("alice")) as client:
        say = await client.start("say")
        await client.wait(say.handle)
    async with printing(server, disk, "stop") as job:
        end = (await job.client.wait(job.job.handle)).end
        await job.check_both_readers(end)
        again = await job.client.start("say")
        small = (await job.client.wait(again.handle)).end
        assert (small.reason, small.exit_code) == ("exited", 0)
        assert spans(small.gaps) == [(0, len(b"kept\n"), "disk")]
        job.filler.free()
        assert (await follow(job.client, say.handle)).data() == b"kept\n"
        third = await job.client.start("say")
        assert (await follow(job.client, third.handle)).data() == b"kept\n"
    assert (end.reason, "No space left" in end.detail) == ("output_failed", True)
    ((begin, stop, reason),) = spans(end.gaps)
    assert 0 < begin <= ROOM_BYTES
    assert (stop, reason) == (end.output_bytes, "disk")
