"""watch: changes as lines, over lost connections, until somebody leaves."""

import json
import os
import signal

import pytest
from fake_service import HANDLE, FakeService, fake_server

from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode

RUNNING, FINISHED = pb.JOB_STATE_RUNNING, pb.JOB_STATE_FINISHED
END = pb.EndRecord(reason="exited", exit_code=3)


def ended() -> pb.Job:
    job = pb.Job(handle=HANDLE, name="nightly", command="ls", argv=["/bin/ls", "a b"], end=END)
    job.state = FINISHED
    return job


def some_changes(service: FakeService) -> None:
    service.change(state=RUNNING)
    service.change(state=RUNNING, paused=True)
    service.change(state=RUNNING, paused=False)
    service.change(state=pb.JOB_STATE_STOPPING)
    service.change(state=FINISHED, job=ended())
    service.change(state=FINISHED, removed=True, job=None)


async def test_each_change_is_a_line() -> None:
    """With what the job became; ^C says where to go on."""
    service = FakeService()
    service.change(state=RUNNING)  # before the watch: not shown
    async with fake_server(service) as server, server.cli("watch") as cli:
        await service.watch_arrived.wait()
        some_changes(service)
        await cli.wait_for(b"was removed\n")
        os.kill(cli.process.pid, signal.SIGINT)
        done = await cli.done()
    assert done.out.decode().splitlines() == [
        f"1970-01-01T00:00:02.000Z {HANDLE}        is running               ls",
        f"1970-01-01T00:00:03.000Z {HANDLE}        is paused                ls",
        f"1970-01-01T00:00:04.000Z {HANDLE}        runs on                  ls",
        f"1970-01-01T00:00:05.000Z {HANDLE}        is being stopped         ls",
        f"1970-01-01T00:00:06.000Z {HANDLE} (nightly) exited with code 3       ls 'a b'",
        f"1970-01-01T00:00:07.000Z {HANDLE}        was removed",
    ]
    assert done.code == 130
    assert done.err.decode() == "Detached; go on with: penstock watch --after 7\n"


async def test_it_resumes_where_it_is_told_and_after_a_loss() -> None:
    """Each change once."""
    service = FakeService()
    some_changes(service)
    async with (
        fake_server(service) as server,
        server.cli("-o", "json", "watch", HANDLE, "--after", "2") as cli,
    ):
        await cli.wait_for(b'"removed": true')
        server.break_connections()
        await cli.wait_for(b"Connection lost (")
        service.change(state=RUNNING)
        await server.serve()
        await cli.wait_for(b"Connected again; the changes go on behind number 6\n")
        await cli.wait_for(b'"sequence": "7"')
        os.kill(cli.process.pid, signal.SIGTERM)
        done = await cli.done()
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [int(each["sequence"]) for each in found] == [2, 3, 4, 5, 6, 7]
    assert "handle" not in found[0]
    assert [list(each.handles) for each in service.watches] == [[HANDLE], [HANDLE]]
    error = json.loads(done.err.splitlines()[-1])["error"]
    assert error["message"] == f"Detached; go on with: penstock watch {HANDLE} --after 7"
    assert done.code == error["exit_status"] == 143


async def test_what_is_missing_is_said() -> None:
    """On standard error for people, in the object for programs."""
    service = FakeService()
    service.watch_resync = True
    async with fake_server(service) as server, server.cli("watch", "--after", "9") as cli:
        await cli.wait_for(b"Changes are missing here")
        os.kill(cli.process.pid, signal.SIGINT)
        done = await cli.done()
    assert done.out == b""
    service.watch_resync = True
    async with fake_server(service) as server, server.cli("-o", "json", "watch") as cli:
        await cli.wait_for(b'"resync": true')
        os.kill(cli.process.pid, signal.SIGINT)
        await cli.done()


@pytest.mark.parametrize(
    ("code", "status"), [(StatusCode.PERMISSION_DENIED, 5), (StatusCode.RESOURCE_EXHAUSTED, 7)]
)
async def test_what_the_server_refuses(code: StatusCode, status: int) -> None:
    """Without a way to go on, as nothing has begun."""
    service = FakeService()
    service.watch_errors = [RpcError(code, "no")]
    async with fake_server(service) as server:
        done = await server.run_cli("watch")
    assert (done.code, done.err) == (status, b"Error: no\n")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (StatusCode.PERMISSION_DENIED, b""),
        (StatusCode.RESOURCE_EXHAUSTED, b"; go on with: penstock watch --after 7"),
    ],
)
async def test_who_may_not_watch_any_more_is_not_told_to_go_on(
    code: StatusCode, hint: bytes
) -> None:
    """As a reload has taken the right away under it; anybody else is."""
    service = FakeService()
    service.watch_errors = [RpcError(code, "no")]
    async with fake_server(service) as server:
        done = await server.run_cli("watch", "--after", "7")
    assert done.err == b"Error: no" + hint + b"\n"


async def test_a_reader_that_leaves_ends_it_without_a_word() -> None:
    """As ``| head``; a disk that is full is a failure."""
    service = FakeService()
    some_changes(service)
    ours, theirs = os.pipe()
    os.close(ours)
    async with fake_server(service) as server:
        done = await server.run_cli("watch", "--after", "0", out=theirs)
        assert (done.code, done.err) == (0, b"")
        full = os.open("/dev/full", os.O_WRONLY)
        done = await server.run_cli("watch", "--after", "0", out=full)
    assert done.code == 1
    assert b"No space left on device; go on with: penstock watch --after 0\n" in done.err
