"""The command line's first connection: tried for again, and what is said of it; a wait goes on."""

import pytest
import trio
from fake_service import HANDLE, FakeService, fake_server, shown_lines, terminal
from patience import patient

from penstock.cli.root import run
from penstock.proto import command_pb2 as pb


@pytest.mark.slow
async def test_a_terminal_is_told_after_a_second() -> None:
    """C30: once, on stderr; the verb then does what it was asked for."""
    bound = f"{patient(20):g}"
    async with fake_server() as server:
        server.break_connections()
        async with terminal() as (theirs, shown):
            words = ["wait", HANDLE, "--connect-timeout", bound]
            async with server.cli(*words, err=theirs) as cli:
                with trio.fail_after(patient(20)):
                    while True:  # what a terminal shows is no event
                        if b"\n" in shown:
                            break
                        await trio.sleep(0.02)
                    await server.serve()
                    done = await cli.done()
    assert (done.code, done.out) == (0, f"Job {HANDLE} exited with code 0.\n".encode())
    where = f"127.0.0.1 port {server.port}"
    text = f"Waiting for at most {bound} s for the server at {where}\n"
    assert shown_lines(shown) == text.encode()


async def test_nothing_is_said_elsewhere() -> None:
    """C30: a script's stderr is for errors. One that was tried for says for how long."""
    async with fake_server() as server:
        server.break_connections()
        done = await server.run_cli("--connect-timeout", "1.2", "list")
    assert (done.code, done.out) == (3, b"")
    where = f"127.0.0.1 port {server.port}"
    assert done.err == f"Error: {where}: Connection refused; tried for 1.2 s\n".encode()


@pytest.mark.parametrize("option", ["--connect-timeout", "--reconnect"])
@pytest.mark.parametrize("value", ["-1", "x", "nan", "86401"])
def test_times_that_are_none(option: str, value: str) -> None:
    """A usage error, before anything is connected to."""
    assert run(["stream", option, value, HANDLE]) == 2
    assert run(["wait", option, value, HANDLE]) == 125


async def test_a_wait_goes_on_over_a_restart() -> None:
    """The job runs on, so the wait does, and exits as it did."""
    service = FakeService()
    service.end = pb.EndRecord(reason="exited", exit_code=7)
    service.wait_may_answer = trio.Event()
    async with fake_server(service) as server, server.cli("wait", HANDLE) as cli:
        await service.wait_arrived.wait()
        server.break_connections()
        await cli.wait_for(b"the job runs on, trying for 60 s to wait on\n")
        service.wait_may_answer.set()
        await server.serve()
        done = await cli.done()
    assert (done.code, done.out) == (7, f"Job {HANDLE} exited with code 7.\n".encode())


async def test_a_wait_that_is_not_to_go_on() -> None:
    """125, with what happened, and nothing of going on."""
    service = FakeService()
    service.wait_may_answer = trio.Event()
    async with (
        fake_server(service) as server,
        server.cli("wait", "--reconnect", "0", HANDLE) as cli,
    ):
        await service.wait_arrived.wait()
        server.break_connections()
        done = await cli.done()
    assert done.code == 125
    assert done.err.startswith(b"Error: ")
    assert b"trying" not in done.err


async def test_removals_go_on_where_they_were() -> None:
    """Over a restart in order as one is answered: what the server has not begun is asked for on the
    next one, and nothing a second time."""
    service = FakeService()
    service.removals = {"1": None, "2": None, "3": None}
    asked: list[str] = []

    def removing(handle: str) -> None:
        asked.append(handle)
        if handle == "2":
            server.restart()

    service.on_remove = removing
    async with fake_server(service) as server:
        done = await server.run_cli("rm", "1", "2", "3")
    assert (done.code, done.err) == (0, b"")
    assert done.out == b"Removed job 1.\nRemoved job 2.\nRemoved job 3.\n"
    assert asked == ["1", "2", "3"]
