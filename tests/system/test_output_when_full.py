"""Jobs that print more than their policy keeps: every byte is received or announced."""

from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest
import trio
from gates import ARGUMENTS, RELAY, started
from patience import patient, slowness
from running import RunningServer, policy_text, running_server, script
from told import Told, at, follow, kept_sha256, numbered, numbered_bytes, quiet, spans, streaming

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb

MIB = 2**20
PRODUCED = 60_000_000
POLICIES = ("drop_oldest", "drop_newest", "wait", "stop")
KEPT_BYTES = MIB
# A pipe's content is what a job may have printed beyond the last byte that was looked at.
PIPE_BYTES = MIB


def bounded(name: str, text: str, when_full: str) -> str:
    return script(name, text, grace="1s") + f'output = "1MiB"\nwhen_full = "{when_full}"\n'


COMMANDS = (
    script("all", numbered(PRODUCED))
    + 'output = "unlimited"\n'
    + "".join([bounded(each, numbered(PRODUCED), each) for each in POLICIES])
    + bounded("relay", RELAY, "drop_oldest")
    + ARGUMENTS
    + bounded("newest", RELAY, "drop_newest")
    + ARGUMENTS
)
NAMES = ", ".join(f'"{name}"' for name in ("all", "relay", "newest", *POLICIES))
CLIENTS = f"[clients.alice]\ncommands = [{NAMES}]\n"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


class Live:
    """A job, and a reader that is there from its start."""

    def __init__(self, client: Client, job: pb.Job) -> None:
        self.client, self.handle = client, job.handle
        self.told = Told(numbered_bytes)
        self.quiet = trio.Event()

    async def read(self) -> None:
        await follow(self.client, self.handle, self.told, until=self._look, heartbeat_s=0.3)

    def _look(self, told: Told) -> bool:
        if told.received > KEPT_BYTES * 3 // 4 and quiet(told):
            self.quiet.set()
        return False


def seconds(end: pb.EndRecord, job: pb.Job) -> float:
    return (end.ended_ns - job.started_ns) / 1e9


async def check_late_reader(client: Client, handle: str, end: pb.EndRecord) -> None:
    """One that comes afterwards has what the end record speaks of: its gaps and its SHA-256."""
    late = await follow(client, handle, Told(numbered_bytes))
    assert late.check_complete() == end
    assert spans(late.gaps) == spans(end.gaps)
    assert late.digest.hexdigest() == end.output_sha256 == kept_sha256(end, numbered_bytes)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(
    "policy", ["drop_oldest", pytest.param("drop_newest", marks=pytest.mark.slow)]
)
async def test_a_job_whose_output_is_dropped_runs_at_full_speed(
    server: RunningServer, policy: str
) -> None:
    """Its end record and both readers tell of the same bytes; it is not held up by its bound."""
    # Medians of turns, because other work on the machine holds up one or the other. A job that
    # waited would not end at all.
    free_s, bounded_s = zip(
        *[await with_and_without(server, policy) for _ in range(3)], strict=True
    )
    print(f"{policy}: {bounded_s} s, unbounded {free_s} s")
    assert median(bounded_s) < 5 * median(free_s) + slowness()


async def with_and_without(server: RunningServer, policy: str) -> tuple[float, float]:
    """How many seconds a job takes without a bound, and with one, of which all is checked."""
    async with connect(server.endpoint("alice")) as client, trio.open_nursery() as nursery:
        free = await client.start("all")
        free_s = seconds((await client.wait(free.handle)).end, free)
        job = await client.start(policy)
        live = Live(client, job)
        nursery.start_soon(live.read)
        end = (await client.wait(job.handle)).end
        await check_late_reader(client, job.handle, end)
    assert (end.reason, end.exit_code, end.output_bytes) == ("exited", 0, PRODUCED)
    (gap,) = end.gaps
    if policy == "drop_oldest":
        assert (gap.from_offset, gap.reason) == (0, "retention")
        kept = (gap.to_offset, PRODUCED)
    else:
        assert (gap.to_offset, gap.reason) == (PRODUCED, "quota")
        kept = (0, gap.from_offset)
    assert KEPT_BYTES * 3 // 4 < kept[1] - kept[0] <= KEPT_BYTES
    assert (end.sha256_from, live.told.check_complete()) == (kept[0], end)
    # What was there when the live reader came to it, it has got; nothing else is missing.
    assert {each.reason for each in live.told.gaps} <= {gap.reason}
    assert all(
        gap.from_offset <= each.from_offset < each.to_offset <= gap.to_offset
        for each in live.told.gaps
    )
    return free_s, seconds(end, job)


async def test_a_job_that_waits_for_room_stands_still_and_can_be_stopped(
    server: RunningServer,
) -> None:
    """`wait`: running, not a byte more; what the pipe had when it was stopped is a gap."""
    async with connect(server.endpoint("alice")) as client, trio.open_nursery() as nursery:
        job = await client.start("wait")
        live = Live(client, job)
        nursery.start_soon(live.read)
        await live.quiet.wait()
        full = (await client.status(job.handle)).job
        assert full.state == pb.JOB_STATE_RUNNING
        assert KEPT_BYTES * 3 // 4 < full.output_next_offset <= KEPT_BYTES
        assert live.told.position == full.output_next_offset
        assert live.told.gaps == []
        still = await follow(client, job.handle, until=quiet, heartbeat_s=0.2)
        assert still.position == full.output_next_offset
        end = (await client.stop(job.handle)).job.end
        await check_late_reader(client, job.handle, end)
    assert (end.reason, end.stopped_by) == ("stopped", "alice")
    assert 0 < end.output_bytes - full.output_next_offset <= PIPE_BYTES
    assert spans(end.gaps) == [(full.output_next_offset, end.output_bytes, "quota")]
    assert live.told.check_complete() == end
    assert spans(live.told.gaps) == spans(end.gaps)


async def test_a_job_with_more_output_than_it_may_have_is_stopped(server: RunningServer) -> None:
    """`stop`: the end record says output_full; all that was kept is there, the rest is a gap."""
    async with connect(server.endpoint("alice")) as client, trio.open_nursery() as nursery:
        job = await client.start("stop")
        live = Live(client, job)
        nursery.start_soon(live.read)
        end = (await client.wait(job.handle)).end
        await check_late_reader(client, job.handle, end)
    assert end.reason == "output_full"
    ((kept, produced, reason),) = spans(end.gaps)
    assert KEPT_BYTES * 3 // 4 < kept <= KEPT_BYTES
    assert kept < produced == end.output_bytes <= kept + PIPE_BYTES
    assert reason == "quota"
    assert live.told.check_complete() == end
    assert spans(live.told.gaps) == spans(end.gaps)


async def test_what_has_been_dropped_is_a_gap_for_whoever_comes_then(
    server: RunningServer,
) -> None:
    """Though another reader has just had those bytes: they are in no SHA-256 any more."""
    produced = 2 * MIB
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "relay", "dropped")
        with gate:
            await gate.write(numbered_bytes(0, 100_000))
            await follow(client, job.handle, until=at(100_000))
            await gate.write(numbered_bytes(100_000, produced))
        end = (await client.wait(job.handle)).end
        assert end.output_bytes == produced
        assert end.gaps
        await check_late_reader(client, job.handle, end)
        # More than is kept was asked for: that is told, too.
        lines = await follow(client, job.handle, tail_lines=produced)
        time = await follow(client, job.handle, since_ns=job.started_ns)
        assert spans(lines.gaps) == spans(time.gaps) == spans(end.gaps)


async def test_a_live_reader_is_told_at_once_of_all_that_was_left_out(
    server: RunningServer,
) -> None:
    """Though the job prints nothing more: the last gap does not wait for the next byte."""
    printed = 2 * MIB
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "newest", "told")
        told = Told(numbered_bytes)
        with gate, trio.fail_after(patient(10)):
            await gate.write(numbered_bytes(0, printed))
            async with streaming(client, job.handle) as messages:
                for _ in range(5):
                    while told.position < printed:
                        told.take(await anext(messages))
                    await gate.write(numbered_bytes(printed, printed + 9))
                    printed += 9
                while told.position < printed:
                    told.take(await anext(messages))
        assert (await client.wait(job.handle)).end.output_bytes == printed
    assert [(stop, reason) for _, stop, reason in spans(told.gaps)] == [(printed, "quota")]


async def test_every_policy_is_told_before_the_job_runs(server: RunningServer) -> None:
    """The job's limits name the bound and what happens when it is used up."""
    found: dict[str, Any] = {}
    async with connect(server.endpoint("alice")) as client:
        for policy in POLICIES:
            job = await client.start(policy)
            async with streaming(client, job.handle) as messages:
                found[policy] = (await anext(messages)).job.limits
            await client.stop(job.handle, grace_s=0)
    for policy, limits in found.items():
        assert (limits.output_bytes, limits.output_when_full) == (MIB, policy)
