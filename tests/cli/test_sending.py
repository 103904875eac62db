"""send and run -i: whose bytes they are, and what ends them, whatever becomes of the server."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
from fake_service import HANDLE, Done, FakeServer, FakeService, fake_server, finished

from penstock.client import Endpoint
from penstock.client.send_input import InputSender
from penstock.jobs.job_errors import InputTakenOver, Precondition
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.error_status import from_job_error

ENDED = Precondition("STDIN_CLOSED", f"job {HANDLE} has ended")
TAKEN = InputTakenOver(f"somebody else has sent input to job {HANDLE} meanwhile")


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    """The first is the CLI's, which closes it; the second is closed at the end."""
    read_fd, write_fd = os.pipe()
    try:
        yield read_fd, write_fd
    finally:
        os.close(write_fd)


async def sent(server: FakeServer, data: bytes, *words: str) -> Done:
    with pipe() as (read_fd, write_fd):
        os.write(write_fd, data)
    return await server.run_cli("send", *words, stdin=read_fd)


def endpoint(server: FakeServer) -> Endpoint:
    pair = server.pki.clients["alice"]
    return Endpoint("127.0.0.1", server.port, server.pki.ca, pair.certificate, pair.key)


async def test_send_says_how_much_there_is_in_all() -> None:
    """After what others sent before; with the end unless it is to be kept open."""
    async with fake_server() as server:
        done = await sent(server, b"one ", "--keep-open", HANDLE)
        assert (done.code, done.out) == (0, f"Job {HANDLE} was sent 4 bytes in all.\n".encode())
        assert not server.service.input_ended
        done = await sent(server, b"two", HANDLE)
        text = f"Job {HANDLE} was sent 7 bytes in all, and its end.\n"
        assert (done.code, done.out.decode()) == (0, text)
        assert server.service.input == b"one two"
        assert server.service.input_ended
        done = await sent(server, b"", "-o", "json", HANDLE)
        assert done.out == b'{"accepted": "7", "eof": true}\n'


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (StatusCode.NOT_FOUND, 4),
        (StatusCode.PERMISSION_DENIED, 5),
        (StatusCode.FAILED_PRECONDITION, 6),
        (StatusCode.ABORTED, 6),
        (StatusCode.RESOURCE_EXHAUSTED, 7),
    ],
)
async def test_a_refusal_is_its_exit_status(code: StatusCode, status: int) -> None:
    """Once, with the server's words, which do nothing to a terminal."""
    service = FakeService()
    service.send_errors = [RpcError(code, "no \x1b[31mway")]
    async with fake_server(service) as server:
        done = await sent(server, b"x", HANDLE)
    assert done.code == status
    assert done.err == b"Error: no \\x1b[31mway\n"
    assert len(service.sends) == 1


async def test_a_send_that_waits_for_its_input_ends_with_the_job() -> None:
    """Not with the next bytes, which may never come."""
    service = FakeService()
    with pipe() as (read_fd, write_fd):
        async with (
            fake_server(service) as server,
            server.cli("send", HANDLE, stdin=read_fd) as cli,
        ):
            os.write(write_fd, b"abc")
            await service.wait_input(3)
            service.end_input(ENDED)
            done = await cli.done()
    assert done.code == 6
    assert f"job {HANDLE} has ended".encode() in done.err


async def test_a_send_that_waits_for_its_input_goes_on_over_a_restart() -> None:
    """It is there again before it has anything to send, so it hears of the job's end then too;
    under its own name, as one that goes on."""
    service = FakeService()
    with pipe() as (read_fd, write_fd):
        async with (
            fake_server(service) as server,
            server.cli("send", HANDLE, stdin=read_fd) as cli,
        ):
            os.write(write_fd, b"abc")
            await service.wait_input(3)
            server.break_connections()
            await server.serve()
            await service.wait_input(3, calls=2)
            os.write(write_fd, b"def")
            await service.wait_input(6)
            service.end_input(ENDED)
            done = await cli.done()
    assert done.code == 6
    assert service.input == b"abcdef"
    first, second = service.sends
    assert first.sender == second.sender
    assert len(first.sender) >= 32
    assert (first.goes_on, second.goes_on) == (False, True)


async def test_an_interrupted_send_ends_at_once() -> None:
    """130, and how to go on, though a thread of it waits for input; what was accepted stays."""
    service = FakeService()
    with pipe() as (read_fd, write_fd):
        async with (
            fake_server(service) as server,
            server.cli("send", HANDLE, stdin=read_fd) as cli,
        ):
            os.write(write_fd, b"abc")
            await service.wait_input(3)
            cli.process.send_signal(signal.SIGINT)
            done = await cli.done()
    assert done.code == 130
    assert re.fullmatch(
        rf"Detached; job {HANDLE} goes on, and has accepted at least [03] bytes in all; send the "
        rf"rest with: penstock send {HANDLE}\n",
        done.err.decode(),
    )
    assert not service.input_ended


async def test_others_bytes_do_not_pass_for_ours() -> None:
    """Cut off, and somebody else has sent meanwhile: what is accepted now is not ours."""
    service = FakeService()
    with pipe() as (read_fd, write_fd):
        async with (
            fake_server(service) as server,
            server.cli("send", HANDLE, stdin=read_fd) as cli,
        ):
            os.write(write_fd, b"abc")
            await service.wait_input(3)
            server.break_connections()
            service.send_errors = [from_job_error(TAKEN)]
            await server.serve()
            done = await cli.done()
    assert done.code == 6
    assert b"somebody else has sent input" in done.err


class Given:
    """A source of these pieces, and then nothing."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = list(pieces)

    async def __call__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece


async def test_a_source_that_fails_is_not_an_end() -> None:
    """Its error is the feed's, plain; the job must not read an end that nobody sent."""
    async with fake_server() as server:
        feeder = InputSender(endpoint(server), HANDLE)
        with pytest.raises(OSError, match="gone"):
            await feeder.feed(Given(b"abc", OSError("gone")))
        assert not server.service.input_ended


@pytest.mark.parametrize("accepted", [4, 9])
async def test_an_answer_that_cannot_be_is_no_success(accepted: int) -> None:
    """Less than before, or more than was ever sent: nobody knows what is to be sent next."""
    service = FakeService()
    service.accepted_told = [5, accepted]
    async with fake_server(service) as server:
        with pytest.raises(RpcError, match="cannot be"):
            await InputSender(endpoint(server), HANDLE).feed(Given(b"abc", b""))


async def test_an_input_that_cannot_be_read_starts_nothing() -> None:
    """A job would wait for what never comes; and none is sent an end that is none."""
    async with fake_server() as server:
        done = await server.run_cli("run", "-i", "cat", without=(0,))
        text = b"Error: standard input: Bad file descriptor\n"
        assert (done.code, done.out, done.err) == (125, b"", text)
        done = await server.run_cli("send", HANDLE, without=(0,))
        assert (done.code, done.out, done.err) == (2, b"", text)
        assert (server.service.starts, server.service.sends) == ([], [])


async def test_run_passes_on_and_ends_with_its_job() -> None:
    """Its own input has no end yet; a job that wants no more of it is no failure."""
    service = FakeService()
    service.messages = [finished(3)]
    service.stream_may_end.set()
    with pipe() as (read_fd, write_fd):
        os.write(write_fd, b"abc")
        async with fake_server(service) as server:
            service.send_errors = [from_job_error(ENDED)]
            done = await server.run_cli("run", "-i", "cat", stdin=read_fd)
    assert (done.code, b"Error" in done.err) == (3, False)
    assert service.starts[0].stdin
