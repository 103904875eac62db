"""The records' disk is full as a job ends, on a real server."""

import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
from disks import Filler, small_disk
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from patience import patient
from running import RunningServer, policy_text, running_server, script
from this_run import new_directory

from penstock.cli.failures import Exit
from penstock.client import Client, connect
from penstock.jobs.job import RECORD_PATIENCE_S
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

DEAF = script("deaf", "trap 'echo heard' TERM; echo ready; while :; do sleep 0.1; done")
POLICY = policy_text(DEAF, '[clients.alice]\ncommands = ["deaf"]\n')
GRACE_S = 2.0


async def read_until(client: Client, handle: str, words: bytes) -> None:
    data = b""
    async with client.stream(handle) as messages:
        async for message in messages:
            data += message.data
            if words in data:
                return


@pytest.fixture
def disk() -> Iterator[Path]:
    """Where records and output are. What is decided is written down elsewhere."""
    with small_disk() as disk:
        yield disk


@pytest.fixture
def server(disk: Path) -> Iterator[RunningServer]:
    elsewhere = new_directory("audit")
    try:
        with running_server(POLICY, state_dir=str(disk), audit_log=f"{elsewhere}/log") as server:
            yield server
    finally:
        shutil.rmtree(elsewhere)


@pytest.mark.slow
@pytest.mark.root
async def test_stop_and_wait_say_so_and_it_is_recorded_later(
    server: RunningServer, disk: Path
) -> None:
    """C23: UNAVAILABLE with its reason after ten seconds, `ending` meanwhile; the job's processes
    are dead all the same, and it is recorded once there is room, by this same server."""
    pid = server.server_pid()
    errors: dict[str, RpcError] = {}
    took: dict[str, float] = {}

    async def one(name: str, call: Callable[[], Awaitable[object]]) -> None:
        begin = time.monotonic()
        with pytest.raises(RpcError) as caught:
            await call()
        took[name], errors[name] = time.monotonic() - begin, caught.value

    async with connect(server.endpoint("alice")) as alice:
        job = await alice.start("deaf")
        await read_until(alice, job.handle, b"ready")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, "wait", lambda: alice.wait(job.handle))
            nursery.start_soon(one, "stop", lambda: alice.stop(job.handle, grace_s=GRACE_S))
            await read_until(alice, job.handle, b"heard")
            filler = Filler(disk, 0)
        for name in ("stop", "wait"):
            assert errors[name].code is StatusCode.UNAVAILABLE
            (info, retry) = errors[name].details
            assert isinstance(info, ErrorInfo)
            assert info.reason == "NOT_RECORDED"
            assert isinstance(retry, RetryInfo)
            assert took[name] >= RECORD_PATIENCE_S
        found = (await alice.status(job.handle)).job
        assert found.state == pb.JOB_STATE_ENDING
        done = server.cli("alice", "stop", job.handle)
        assert done.returncode == Exit.UNREACHABLE
        assert "cannot be recorded now" in done.stderr + done.stdout
        filler.free()
        with trio.fail_after(patient(20)):
            while True:
                try:
                    end = (await alice.wait(job.handle)).end
                    break
                except RpcError:  # at most a second
                    await trio.sleep(0.1)
        assert (end.reason, end.escalated) == ("stopped", True)
    assert server.server_pid() == pid
