"""status --watch: until the jobs have ended, in the form of what it is shown on."""

import json
import os
import signal

import trio
from fake_service import HANDLE, FakeService, fake_server
from typed_terminal import typed_terminal

from penstock.proto import command_pb2 as pb
from penstock.text.job_text import sentence

OTHER = "50000"


def status(state: pb.JobState, handle: str = HANDLE, note: str = "") -> pb.StatusResponse:
    job = pb.Job(handle=handle, command="ls", state=state)
    if state == pb.JOB_STATE_FINISHED:
        job.end.reason, job.end.exit_code = "exited", 3
    return pb.StatusResponse(job=job, status=f"{sentence(job)}{note}")


def running(service: FakeService, *handles: str) -> None:
    for handle in handles:
        service.statuses[handle] = status(pb.JOB_STATE_RUNNING, handle)


def ends(service: FakeService, handle: str = HANDLE) -> None:
    """The job has ended, and those that watch are told so."""
    service.statuses[handle] = status(pb.JOB_STATE_FINISHED, handle)
    service.change(state=pb.JOB_STATE_FINISHED, handle=handle)


async def test_in_a_pipe_each_change_of_the_state_is_shown() -> None:
    """At once, not with the next look; figures alone are no change."""
    service = FakeService()
    running(service, HANDLE)
    async with (
        fake_server(service) as server,
        server.cli("status", "--watch", "--interval", "3000", HANDLE) as cli,
    ):
        await service.watch_arrived.wait()
        service.statuses[HANDLE].status += "\nmore"
        service.change(state=pb.JOB_STATE_RUNNING)
        ends(service)
        done = await cli.done()
    assert (done.code, done.err) == (0, b"")
    assert done.out.decode() == f"Job {HANDLE} is running.\nJob {HANDLE} exited with code 3.\n"
    assert [list(each.handles) for each in service.watches] == [[HANDLE]]


async def test_as_json_each_look_is_a_line() -> None:
    """Until the last of several has ended."""
    service = FakeService()
    running(service, HANDLE, OTHER)
    async with (
        fake_server(service) as server,
        server.cli("-o", "json", "status", "-w", "--interval", "0.5", HANDLE, OTHER) as cli,
    ):
        while cli.out.count(b"\n") < 4:  # the second look, without any change
            await cli.grown.wait()
        ends(service)
        ends(service, OTHER)
        done = await cli.done()
    found = [json.loads(line)["job"] for line in done.out.splitlines()]
    assert {each["handle"] for each in found} == {HANDLE, OTHER}
    assert {each["state"] for each in found[-2:]} == {"JOB_STATE_FINISHED"}
    assert done.code == 0


async def test_on_a_terminal_it_is_drawn_anew() -> None:
    """In the place of what was there, cut at the edge; what it ends with stays."""
    service = FakeService()
    running(service, HANDLE)
    service.statuses[HANDLE].status += f"\n{'x' * 60}"
    async with fake_server(service) as server, typed_terminal(40, 12) as terminal:
        async with server.cli(
            *("status", "-w", "--interval", "3000", HANDLE),
            out=terminal.copy(),
            err=terminal.copy(),
        ) as cli:
            await terminal.wait_raw(f"\x1b[JJob {HANDLE} is running.\r\n{'x' * 39}…\r\n")
            await service.watch_arrived.wait()
            ends(service)
            assert await cli.process.wait() == 0
        await terminal.wait_raw(f"\x1b[2F\x1b[JJob {HANDLE} exited with code 3.\r\n")


async def test_jobs_that_are_not_known_keep_no_other_from_it() -> None:
    """The exit status is theirs; one that is removed while it is watched is none."""
    service = FakeService()
    running(service, HANDLE, OTHER)
    async with (
        fake_server(service) as server,
        server.cli("status", "-w", "--interval", "3000", "99", HANDLE, OTHER) as cli,
    ):
        await service.watch_arrived.wait()
        del service.statuses[OTHER]
        service.change(handle=OTHER, removed=True, job=None)
        ends(service)
        done = await cli.done()
    assert done.code == 4
    assert done.err == b"Error: Job 99 not found\n"
    assert done.out.endswith(b"exited with code 3.\n")
    async with fake_server() as server:
        done = await server.run_cli("status", "-w", "98")
    assert (done.code, done.out) == (4, b"")


async def test_it_goes_on_over_a_lost_connection_and_ends_by_a_signal() -> None:
    """Nothing is shown twice."""
    service = FakeService()
    running(service, HANDLE)
    async with (
        fake_server(service) as server,
        server.cli("status", "-w", "--interval", "3000", HANDLE) as cli,
    ):
        await service.watch_arrived.wait()
        service.watch_arrived = trio.Event()
        server.break_connections()
        await server.serve()
        await service.watch_arrived.wait()
        os.kill(cli.process.pid, signal.SIGINT)
        done = await cli.done()
    assert done.code == 130
    assert done.out.decode() == f"Job {HANDLE} is running.\n"
    assert b"with: penstock status" in done.err


async def test_a_change_asks_for_its_job_alone_of_however_many() -> None:
    """More than a request may name: all own changes come, and those of other jobs cost nothing."""
    service = FakeService()
    handles = [str(60000 + at) for at in range(101)]
    running(service, *handles)
    async with (
        fake_server(service) as server,
        server.cli("status", "-w", "--interval", "3000", *handles) as cli,
    ):
        await service.watch_arrived.wait()
        while len(service.looks) < 2 * len(handles):  # the first ones, and behind the begin
            await service.looked.wait()
        service.change(state=pb.JOB_STATE_RUNNING, handle=OTHER)
        for handle in handles:
            ends(service, handle)
        done = await cli.done()
    assert (done.code, done.err) == (0, b"")
    assert [list(each.handles) for each in service.watches] == [[]]
    assert sorted(service.looks) == sorted(3 * handles)
