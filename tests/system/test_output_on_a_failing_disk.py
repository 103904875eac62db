"""A disk that fails under one job's log, by fault injection: announced, and nobody else's loss."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from failing import failing
from gates import ARGUMENTS, RELAY, Gate, started
from running import RunningServer, policy_text, running_server, script
from told import Told, at, follow, kept_sha256, numbered_bytes, quiet, spans

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb

pytestmark = pytest.mark.root

POLICIES = ("drop_oldest", "drop_newest", "wait", "stop")
BEFORE = 90_000
MORE = 90_000
COMMANDS = "".join(
    [script(name, RELAY, grace="1s") + f'when_full = "{name}"\n' + ARGUMENTS for name in POLICIES]
)
CLIENTS = f"[clients.alice]\ncommands = [{', '.join([repr(name) for name in POLICIES])}]\n"
# What the log asks of the disk when it writes: EIO, and a short write of the index.
WRITES = {
    "bytes": ("output", "splice:error=EIO"),
    "entry": ("index", "pwrite64:error=EIO"),
    "short entry": ("index", "pwrite64:retval=7"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


def newest_log(server: RunningServer, kind: str) -> Path:
    """The file of the job that was started last."""
    directories = list((server.directory / "state" / "jobs").iterdir())
    newest = max(directories, key=lambda path: path.stat().st_mtime_ns)
    return newest / f"{0:020}.{kind}"


async def print_and_see(client: Client, handle: str, gate: Gate, begin: int) -> Told:
    """Prints MORE bytes from ``begin`` on; what a reader is told of them."""
    await gate.write(numbered_bytes(begin, begin + MORE))
    told = Told(numbered_bytes)
    return await follow(client, handle, told, until=at(begin + MORE), offset=begin)


async def print_until_kept(client: Client, handle: str, gate: Gate, begin: int) -> int:
    """As often as it takes: a disk tells nobody that it is well again. Returns what is printed."""
    while (await print_and_see(client, handle, gate, begin)).received < MORE:
        begin += MORE
        await trio.sleep(0.1)
    return begin + MORE


async def check_exact(client: Client, handle: str, printed: int) -> pb.EndRecord:
    """Of a job that has ended, all it has printed is received or announced, and true."""
    end = (await client.wait(handle)).end
    late = await follow(client, handle, Told(numbered_bytes))
    assert late.check_complete() == end
    assert end.output_bytes == printed
    assert spans(late.gaps) == spans(end.gaps)
    assert late.digest.hexdigest() == end.output_sha256 == kept_sha256(end, numbered_bytes)
    return end


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        ("drop_newest", "bytes"),
        pytest.param("drop_newest", "entry", marks=pytest.mark.slow),
        pytest.param("drop_newest", "short entry", marks=pytest.mark.slow),
        # A short write is a full disk, where the oldest make room: see test_output_on_a_full_disk.
        pytest.param("drop_oldest", "bytes", marks=pytest.mark.slow),
        ("drop_oldest", "entry"),
    ],
)
async def test_what_the_disk_does_not_take_is_a_gap(
    server: RunningServer, policy: str, kind: str
) -> None:
    """It says `disk`; what comes once it takes bytes again is kept; another job lost nothing."""
    file, injection = WRITES[kind]
    name = f"{policy}{kind}".replace("_", "").replace(" ", "")
    async with connect(server.endpoint("alice")) as client:
        other, other_gate = await started(server, client, policy, name + "other")
        job, gate = await started(server, client, policy, name)
        with gate, other_gate:
            await print_and_see(client, job.handle, gate, 0)
            with failing(server.server_pid(), [newest_log(server, file)], injection):
                said = await print_and_see(client, job.handle, gate, BEFORE)
                assert spans(said.gaps) == [(BEFORE, BEFORE + MORE, "disk")]
                said = await print_and_see(client, other.handle, other_gate, 0)
                assert said.received == MORE
            printed = await print_until_kept(client, job.handle, gate, BEFORE + MORE)
        end = await check_exact(client, job.handle, printed)
        ((begin, stop, reason),) = spans(end.gaps)
        assert (begin, reason) == (BEFORE, "disk")
        assert BEFORE + MORE <= stop <= printed - MORE
        assert list((await check_exact(client, other.handle, MORE)).gaps) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITES)
async def test_a_job_that_waits_loses_nothing_by_a_disk_that_fails(
    server: RunningServer, kind: str
) -> None:
    """`wait`: it stands still as long as the disk fails; then every byte is there."""
    file, injection = WRITES[kind]
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "wait", "wait" + kind.replace(" ", ""))
        with gate:
            await print_and_see(client, job.handle, gate, 0)
            with failing(server.server_pid(), [newest_log(server, file)], injection):
                await gate.write(numbered_bytes(BEFORE, BEFORE + MORE))
                still = await follow(client, job.handle, until=quiet, heartbeat_s=0.2)
                assert still.position == BEFORE
                assert (await client.status(job.handle)).job.state == pb.JOB_STATE_RUNNING
            await follow(client, job.handle, until=at(BEFORE + MORE))
        assert list((await check_exact(client, job.handle, BEFORE + MORE)).gaps) == []


async def test_a_job_that_stops_when_it_cannot_be_kept_says_why(server: RunningServer) -> None:
    """`stop`: output_failed, with the error; what was in the pipe is a gap."""
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "stop", "stop")
        with gate:
            await print_and_see(client, job.handle, gate, 0)
            path = newest_log(server, "output")
            with failing(server.server_pid(), [path], "splice:error=EIO"):
                with contextlib.suppress(BrokenPipeError):  # it is stopped while it prints
                    await gate.write(numbered_bytes(BEFORE, BEFORE + MORE))
                end = (await client.wait(job.handle)).end
        assert (end.reason, os.strerror(5) in end.detail) == ("output_failed", True)
        end = await check_exact(client, job.handle, end.output_bytes)
        assert spans(end.gaps) == [(BEFORE, end.output_bytes, "disk")]


@pytest.mark.parametrize("file", ["output", "index"])
async def test_what_the_disk_does_not_give_back_is_a_gap(server: RunningServer, file: str) -> None:
    """It says `damaged`, to those who read then; who comes later gets the bytes."""
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "wait", "read" + file)
        with gate:
            await gate.write(numbered_bytes(0, BEFORE))
            # Without a look at the bytes: they must come from the disk when they are read.
            others = [pb.STREAM_STDERR]
            await follow(client, job.handle, until=at(BEFORE), streams=others, heartbeat_s=0.1)
            with failing(server.server_pid(), [newest_log(server, file)], "pread64:error=EIO"):
                said = await follow(client, job.handle, Told(numbered_bytes), until=at(BEFORE))
                assert spans(said.gaps) == [(0, BEFORE, "damaged")]
        assert list((await check_exact(client, job.handle, BEFORE)).gaps) == []


async def test_to_leave_bytes_out_needs_no_descriptor(server: RunningServer) -> None:
    """A server that has none left counts what it does not keep, and lives."""
    async with connect(server.endpoint("alice")) as client:
        job, gate = await started(server, client, "drop_newest", "none")
        with gate:
            await print_and_see(client, job.handle, gate, 0)
            paths = [newest_log(server, "output"), Path(os.devnull)]
            injections = ("splice:error=EIO", "openat:error=EMFILE")
            with failing(server.server_pid(), paths, *injections):
                said = await print_and_see(client, job.handle, gate, BEFORE)
        await check_exact(client, job.handle, BEFORE + MORE)
    assert spans(said.gaps) == [(BEFORE, BEFORE + MORE, "disk")]
