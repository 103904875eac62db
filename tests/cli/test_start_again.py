"""A start is never lost and never happens twice, whatever ends the CLI or its connection."""

import os
import signal

import pytest
import trio
from fake_service import HANDLE, FakeService, chunk, fake_server, finished

from penstock.cli.exits import exit_code, message
from penstock.cli.interrupted_start import ANSWER_S, hurry, interrupted_text
from penstock.cli.signal_handling import Signals
from penstock.client import Endpoint, RepeatedStart, connect
from penstock.rpc.call_errors import ConnectionLost, RpcError, StatusCode
from penstock.server.error_status import denied, retryable

SIGNALS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


async def test_each_start_has_an_id_of_its_own() -> None:
    """And one that the server takes."""
    async with fake_server() as server:
        for _ in range(2):
            assert (await server.run_cli("start", "ls")).code == 0
        first, second = [request.request_id for request in server.service.starts]
        assert first != second
        assert min(len(first), len(second)) >= 32


async def test_one_text_is_not_taken_for_a_list_of_arguments() -> None:
    """By the Python client: its characters would each become one. Nothing is asked for."""
    async with fake_server() as server:
        pair = server.pki.clients["alice"]
        endpoint = Endpoint("127.0.0.1", server.port, server.pki.ca, pair.certificate, pair.key)
        async with connect(endpoint) as client:
            for text in ("12", b"12"):
                with pytest.raises(TypeError, match="arguments is one text"):
                    await client.start("count", text)  # type: ignore[arg-type]
            await client.start("count", ["12"])
    assert [list(request.argv) for request in server.service.starts] == [["12"]]


@pytest.mark.parametrize("verb", ["start", "run"])
async def test_a_lost_connection_repeats_the_start_under_its_id(verb: str) -> None:
    """The server is gone before it has answered, and comes back."""
    service = FakeService()
    service.start_may_answer = trio.Event()
    service.messages = [finished()]
    async with fake_server(service) as server, server.cli(verb, "ls", "-l") as cli:
        await service.start_arrived.wait()
        server.break_connections()
        service.start_may_answer.set()
        await server.serve()
        done = await cli.done()
    assert done.code == 0, done.err
    if verb == "start":
        assert f"Success! PID: {HANDLE}\n".encode() in done.out
    first, second = service.starts
    assert first == second
    assert first.request_id


async def test_a_server_that_stays_away_is_given_up_on() -> None:
    """Bounded, exit 3, and it says that the job may run."""
    service = FakeService()
    service.start_may_answer = trio.Event()
    async with fake_server(service) as server:
        pair = server.pki.clients["alice"]
        endpoint = Endpoint("127.0.0.1", server.port, server.pki.ca, pair.certificate, pair.key)

        async def leave() -> None:
            await service.start_arrived.wait()
            server.break_connections()

        server.nursery.start_soon(leave)
        attempt = RepeatedStart("ls", [], give_up_s=0.3)
        with pytest.raises(ConnectionLost) as caught:
            async with attempt.connected(endpoint):
                pass
    assert exit_code(caught.value) == 3
    assert "whether the job was started is not known" in message(caught.value)
    assert "penstock list" in message(caught.value)


@pytest.mark.parametrize(
    ("error", "starts", "text"),
    [
        # As the transport says it of calls that a shutdown ends: nothing is known.
        (RpcError(StatusCode.UNAVAILABLE, "the server is shutting down"), 2, None),
        (RpcError(StatusCode.INTERNAL, "odd"), 1, "not known"),
        # The service's own: it has decided.
        (
            retryable(StatusCode.UNAVAILABLE, "UNAVAILABLE", "no", 1.0),
            1,
            "Error: no\n",
        ),
        (denied("no"), 1, "Error: no\n"),
    ],
)
async def test_only_what_leaves_the_start_open_is_repeated_or_called_unknown(
    error: RpcError, starts: int, text: str | None
) -> None:
    """A refusal is final."""
    service = FakeService()
    service.start_errors = [error]
    async with fake_server(service) as server:
        done = await server.run_cli("start", "ls")
    assert len(service.starts) == starts
    assert (done.code == 0) == (text is None)
    assert text is None or text in done.err.decode()


async def test_a_server_that_was_never_there_leaves_nothing_unknown() -> None:
    """Nothing was asked for."""
    async with fake_server() as server:
        words = ["--addr", "127.0.0.1:1", "start", "--connect-timeout", "0", "ls"]
        done = await server.run_cli(*words)
    assert done.code == 3
    assert done.err == b"Error: 127.0.0.1 port 1: Connection refused\n"


@SIGNALS
async def test_an_interrupted_start_prints_the_handle_that_comes(
    number: signal.Signals, code: int
) -> None:
    """The first signal waits for the answer that is under way."""
    service = FakeService()
    service.start_may_answer = trio.Event()
    async with fake_server(service) as server, server.cli("start", "ls") as cli:
        await service.start_arrived.wait()
        cli.process.send_signal(number)
        await cli.wait_for(b"Waiting")
        service.start_may_answer.set()
        done = await cli.done()
    assert done.code == code
    assert f"Success! PID: {HANDLE}\n".encode() in done.out
    assert f"penstock stop {HANDLE}".encode() in done.err


@pytest.mark.parametrize("verb", ["start", "run"])
async def test_a_start_that_is_interrupted_twice_says_how_to_find_the_job(verb: str) -> None:
    """Without waiting any longer."""
    service = FakeService()
    service.start_may_answer = trio.Event()
    async with fake_server(service) as server, server.cli(verb, "ls") as cli:
        await service.start_arrived.wait()
        cli.process.send_signal(signal.SIGINT)
        await cli.wait_for(b"Waiting")
        cli.process.send_signal(signal.SIGINT)
        done = await cli.done()
    assert done.code == 130
    assert b"PID" not in done.out
    assert b"not known; look for it with: penstock list" in done.err


async def test_an_interrupted_start_waits_for_a_bounded_time() -> None:
    """ANSWER_S from the first signal on; before anything was asked, and at a second, no more."""
    signals, attempt = Signals(), RepeatedStart("ls", [])
    signals.count = 1
    scope = trio.CancelScope()
    hurry(attempt, signals, scope)
    assert scope.cancel_called
    assert "nothing was started" in interrupted_text(attempt)
    attempt.asked = True
    scope = trio.CancelScope()
    before = trio.current_time()
    hurry(attempt, signals, scope)
    assert before < scope.deadline <= trio.current_time() + ANSWER_S
    signals.count = 2
    hurry(attempt, signals, scope)
    assert scope.cancel_called


def assert_asked_once(service: FakeService) -> None:
    """The stop is asked for first, and then waited for, unless all is over before that."""
    asked = [(request.pid, request.no_wait) for request in service.stops]
    assert asked in ([(HANDLE, True)], [(HANDLE, True), (HANDLE, False)])


@SIGNALS
async def test_a_signal_to_run_stops_the_job_and_a_second_one_detaches(
    number: signal.Signals, code: int
) -> None:
    """First the stop is asked for; the job does not end, and is left."""
    service = FakeService()
    service.messages = [chunk(b"hello\n")]
    service.stream_may_end = trio.Event()
    async with fake_server(service) as server, server.cli("run", "ls") as cli:
        await cli.wait_for(b"hello\n")
        cli.process.send_signal(number)
        await service.stop_arrived.wait()
        cli.process.send_signal(number)
        done = await cli.done()
    assert_asked_once(service)
    assert (done.code, done.out) == (code, b"hello\n")
    assert f"penstock stream {HANDLE} --offset 6\n".encode() in done.err


async def test_run_exits_as_the_job_that_was_stopped() -> None:
    """One ^C: the end record decides."""
    service = FakeService()
    service.stream_may_end = trio.Event()
    service.at_stop = [finished(7)]
    async with fake_server(service) as server, server.cli("run", "ls") as cli:
        await service.stream_read.wait()
        cli.process.send_signal(signal.SIGINT)
        done = await cli.done()
    assert done.code == 7
    assert service.stops[0].reason == "interrupted"


async def test_an_interrupt_before_runs_answer_stops_the_job_that_starts() -> None:
    """The wish to stop is kept until there is something to stop."""
    service = FakeService()
    service.start_may_answer = trio.Event()
    service.stream_may_end = trio.Event()
    service.at_stop = [finished(0)]
    async with fake_server(service) as server, server.cli("run", "ls") as cli:
        await service.start_arrived.wait()
        cli.process.send_signal(signal.SIGINT)
        await cli.wait_for(b"Waiting")
        service.start_may_answer.set()
        done = await cli.done()
    assert done.code == 0, done.err
    assert_asked_once(service)


async def test_an_ignored_interrupt_stays_ignored() -> None:
    """As in a shell's background job: the process was told not to listen."""
    service = FakeService()
    service.start_may_answer = trio.Event()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        async with fake_server(service) as server, server.cli("start", "ls") as cli:
            signal.signal(signal.SIGINT, before)
            await service.start_arrived.wait()
            os.kill(cli.process.pid, signal.SIGINT)
            service.start_may_answer.set()
            done = await cli.done()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (done.code, done.err) == (0, b"")
