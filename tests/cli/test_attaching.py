"""attach: a job that runs already, as if it had been started here."""

import os

import pytest
import trio
from fake_service import HANDLE, FakeService, chunk, fake_server, finished

from penstock.jobs.job_errors import InputTakenOver
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode


class WithInput(FakeService):
    """The job was started with its input open."""

    @property
    def job(self) -> pb.Job:
        job = super().job
        job.input.SetInParent()
        return job


async def test_it_begins_now_and_exits_as_the_job() -> None:
    """Both streams apart, and nothing of ours around them."""
    service = FakeService()
    service.messages = [chunk(b"out\n"), chunk(b"err\n", stream=2, offset=4), finished(3)]
    async with fake_server(service) as server:
        done = await server.run_cli("attach", HANDLE)
    assert (done.code, done.out, done.err) == (3, b"out\n", b"err\n")
    (request,) = service.streams
    assert request.HasField("tail_lines")
    assert request.tail_lines == 0


async def test_our_input_is_the_jobs_once_its_output_is_followed() -> None:
    """To its end, which is the end of the job's."""
    service = WithInput()
    service.stream_may_end = trio.Event()
    service.at_stop = [chunk(b"answer\n"), finished(0)]
    ours, theirs = os.pipe()
    async with fake_server(service) as server:
        async with server.cli("attach", "-i", HANDLE, stdin=ours) as cli:
            os.write(theirs, b"question\n")
            os.close(theirs)
            await service.wait_end_of_input()
            service.stream_may_end.set()
            done = await cli.done()
    assert (done.code, done.out, done.err) == (0, b"answer\n", b"")
    assert bytes(service.input) == b"question\n"
    assert len(service.streams) == 1


async def test_who_takes_the_input_over_is_said_and_the_output_goes_on() -> None:
    """It is no failure: the job decides."""
    service = WithInput()
    service.stream_may_end = trio.Event()
    service.at_stop = [chunk(b"more\n"), finished(0)]
    ours, theirs = os.pipe()
    async with fake_server(service) as server:
        async with server.cli("attach", "-i", HANDLE, stdin=ours) as cli:
            await service.wait_input(0, calls=1)
            service.end_input(InputTakenOver("another has it"))
            await cli.wait_for(b"another has it")
            service.stream_may_end.set()
            done = await cli.done()
    os.close(theirs)
    assert (done.code, done.out) == (0, b"more\n")
    assert done.err == f"Error: input of job {HANDLE}: another has it\n".encode()


async def test_a_job_without_input_takes_none() -> None:
    """Said at once, before anything is read of ours."""
    async with fake_server() as server:
        done = await server.run_cli("attach", "-i", HANDLE)
    assert (done.code, done.out) == (125, b"")
    assert b"was started without --stdin" in done.err


@pytest.mark.parametrize(
    ("code", "status"), [(StatusCode.NOT_FOUND, 127), (StatusCode.PERMISSION_DENIED, 125)]
)
async def test_what_the_server_refuses(code: StatusCode, status: int) -> None:
    """With a status that no job of ours has given."""
    service = FakeService()
    service.stream_errors = [RpcError(code, "no")]
    async with fake_server(service) as server:
        done = await server.run_cli("attach", HANDLE)
    assert (done.code, done.err) == (status, b"Error: no\n")


@pytest.mark.parametrize("words", [["attach", HANDLE], ["stream", HANDLE], ["run", "ls"]], ids=str)
async def test_who_has_lost_the_right_is_not_told_to_go_on(words: list[str]) -> None:
    """In the middle of the output, by a reload: it could not, so it would only be refused again."""
    service = FakeService()
    service.messages = [chunk(b"one\n")]
    service.stream_error = RpcError(
        StatusCode.PERMISSION_DENIED, "the verb 'stream' is not granted"
    )
    async with fake_server(service) as server:
        done = await server.run_cli(*words)
    assert b"one\n" in done.out
    assert done.err.startswith(b"Error: the verb 'stream' is not granted\n")
    assert b"go on with" not in done.err


async def test_a_lost_server_is_told_with_how_to_go_on() -> None:
    """From the byte behind the last one that was printed."""
    service = FakeService()
    service.messages = [chunk(b"one\n")]
    service.stream_may_end = trio.Event()
    async with fake_server(service) as server:
        async with server.cli("attach", "--reconnect", "0.1", HANDLE) as cli:
            await cli.wait_for(b"one\n")
            server.break_connections()
            done = await cli.done()
    assert done.code == 125
    assert f"go on with: penstock stream {HANDLE} --offset 4\n".encode() in done.err


async def test_a_gap_is_a_failure_of_ours() -> None:
    """Unless it is allowed."""
    service = FakeService()
    missing = pb.Gap(from_offset=0, to_offset=4, reason="disk")
    service.messages = [pb.StreamOutputResponse(gap=missing, offset=0, next_offset=4), finished(0)]
    async with fake_server(service) as server:
        done = await server.run_cli("attach", HANDLE)
        allowed = await server.run_cli("attach", "--allow-gaps", HANDLE)
    assert (done.code, allowed.code) == (125, 0)
