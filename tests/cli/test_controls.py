"""stop, signal, pause, resume: what is asked of the server, what is said, and the exit status."""

import json

import pytest
import trio
from fake_service import HANDLE, FakeService, fake_server

from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.error_status import retryable


@pytest.mark.parametrize(
    ("words", "request_", "text"),
    [
        (
            ["signal", HANDLE, "HUP"],
            pb.SignalRequest(pid=HANDLE, signal="HUP"),
            f"Sent HUP to 1 process of job {HANDLE}.\n",
        ),
        (
            ["signal", "--tree", HANDLE, "10"],
            pb.SignalRequest(pid=HANDLE, signal="10", tree=True),
            f"Sent 10 to 3 processes of job {HANDLE}.\n",
        ),
        (["pause", HANDLE], pb.PauseRequest(pid=HANDLE), f"Job {HANDLE} is paused.\n"),
        (["resume", HANDLE], pb.ResumeRequest(pid=HANDLE), f"Job {HANDLE} is running.\n"),
    ],
)
async def test_what_is_asked_and_said(
    words: list[str],
    request_: pb.SignalRequest | pb.PauseRequest | pb.ResumeRequest,
    text: str,
) -> None:
    """One call, one line."""
    async with fake_server() as server:
        done = await server.run_cli(*words)
        assert (done.code, done.out.decode(), done.err) == (0, text, b"")
        assert server.service.controls == [request_]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["signal", HANDLE, "HUP"], {"processes": 1}),
        (["pause", HANDLE], {"handle": HANDLE, "paused": True}),
        (["resume", HANDLE], {"handle": HANDLE}),
    ],
)
async def test_as_json(words: list[str], answer: dict[str, object]) -> None:
    """The answer alone, on one line."""
    async with fake_server() as server:
        done = await server.run_cli("-o", "json", *words)
    (line,) = done.out.splitlines()
    told = json.loads(line)
    assert {key: told.get(key) for key in answer} == answer


@pytest.mark.parametrize(
    "words", [["signal", HANDLE, "HUP"], ["pause", HANDLE], ["resume", HANDLE]]
)
@pytest.mark.parametrize(
    ("code", "status"),
    [
        (StatusCode.INVALID_ARGUMENT, 2),
        (StatusCode.UNAVAILABLE, 3),
        (StatusCode.NOT_FOUND, 4),
        (StatusCode.PERMISSION_DENIED, 5),
        (StatusCode.FAILED_PRECONDITION, 6),
        (StatusCode.RESOURCE_EXHAUSTED, 7),
    ],
)
async def test_refusals(words: list[str], code: StatusCode, status: int) -> None:
    """Said once on stderr, harmless to a terminal; nothing is said to have been done."""
    service = FakeService()
    service.control_error = RpcError(code, "no \x1b[31mway")
    async with fake_server(service) as server:
        done = await server.run_cli(*words)
    assert (done.code, done.out, done.err) == (status, b"", b"Error: no \\x1b[31mway\n")
    assert len(service.controls) == 1  # it may have happened, so it is not asked for again


async def test_the_options_of_stop() -> None:
    """Each is asked for as it was given, and what was not given is left to the command."""
    async with fake_server() as server:
        plain = await server.run_cli("stop", HANDLE)
        options = ["--grace", "1.5", "--reason", "too loud", "--signal", "INT", "--no-wait"]
        quick = await server.run_cli("stop", HANDLE, *options)
        assert (plain.code, quick.code) == (0, 0)
        assert f"Job {HANDLE} successfully stopped!".encode() in plain.out
        assert f"Job {HANDLE} is being stopped.".encode() in quick.out
        assert server.service.stops == [
            pb.StopRequest(pid=HANDLE),
            pb.StopRequest(pid=HANDLE, grace_s=1.5, reason="too loud", signal="INT", no_wait=True),
        ]


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (RpcError(StatusCode.NOT_FOUND, "Job 1\x1b not found"), "Job 1\\x1b not found", 4),
        (RpcError(StatusCode.PERMISSION_DENIED, "no"), "no", 5),
        (RpcError(StatusCode.INTERNAL, ""), "INTERNAL", 1),
    ],
)
async def test_a_stop_that_fails_has_one_form(error: RpcError, text: str, code: int) -> None:
    """Whatever the reason, an unknown job too."""
    service = FakeService()
    service.stop_error = error
    async with fake_server(service) as server:
        done = await server.run_cli("stop", HANDLE)
    assert (done.code, done.out) == (code, f"Stopping {HANDLE}...\n".encode())
    assert done.err == f"Error: {HANDLE} could not be stopped. {text}\n".encode()


async def test_what_a_stop_took_is_said() -> None:
    """What of it is news; as JSON all of it, as ever."""
    service = FakeService()
    end = pb.EndRecord(
        reason="stopped", escalated=True, processes_killed=2, stop_reason="too \x1bloud"
    )
    service.stop_answer = pb.StopResponse(
        result=f"Job {HANDLE} successfully stopped!", took_s=2.5, job=pb.Job(end=end)
    )
    async with fake_server(service) as server:
        done = await server.run_cli("stop", "--reason", "too loud", HANDLE)
    assert done.out.decode().splitlines() == [
        f"Stopping {HANDLE}...",
        f"Job {HANDLE} successfully stopped!",
        "KILL was needed after 2.5s: it ended 2 processes.",
        "The reason given: too \\x1bloud",
    ]
    assert (done.code, done.err) == (0, b"")


async def test_a_list_shows_what_one_would_type() -> None:
    """Words that belong together, empty ones, and what a terminal would obey or not show."""
    service = FakeService()
    service.jobs = [
        pb.Job(
            handle="7",
            command="echo",
            argv=["/bin/echo", "a b", "", "it\n\U000e0041", "plain"],
            state=pb.JOB_STATE_STARTING,
        )
    ]
    async with fake_server(service) as server:
        done = await server.run_cli("list")
    head, line = done.out.decode().splitlines()
    assert head.startswith("PID")
    assert line.endswith(" echo 'a b' '' $'it\\n\\U000e0041' plain")
    assert line.split()[:5] == ["7", "-", "starting", "-", "-"]  # no name; not begun, so no time


async def test_a_list_shows_what_was_typed_instead_of_what_the_policy_has_fixed() -> None:
    """Also where that is nothing; a server that does not say shows what became of it."""
    service = FakeService()
    argv = ["/bin/sh", "-c", "echo hello", "x"]
    service.jobs = [
        pb.Job(handle="1", command="greet", argv=argv, given=pb.GivenArguments(values=["x y"])),
        pb.Job(handle="1", command="greet", argv=argv[:-1], given=pb.GivenArguments()),
        pb.Job(handle="1", command="greet", argv=argv),
    ]
    async with fake_server(service) as server:
        done = await server.run_cli("list")
    shown = [line.split(None, 5)[-1] for line in done.out.decode().splitlines()[1:]]
    assert shown == ["greet 'x y'", "greet", "greet -c 'echo hello' x"]


async def test_a_stop_goes_on_over_a_restart_of_the_server() -> None:
    """It is the same stop, so it is asked for again."""
    service = FakeService()
    service.stop_may_answer = trio.Event()
    async with fake_server(service) as server:
        async with server.cli("stop", "--grace", "9", HANDLE) as cli:
            await service.stop_arrived.wait()
            server.break_connections()
            service.stop_may_answer.set()
            await server.serve()
            done = await cli.done()
        assert done.code == 0, done.err
        assert f"Job {HANDLE} successfully stopped!".encode() in done.out
        assert service.stops == [pb.StopRequest(pid=HANDLE, grace_s=9)] * 2


async def test_a_stop_that_the_server_refuses_for_now_is_not_asked_for_again() -> None:
    """Such as one that cannot be recorded: it says so, and when to come back."""
    service = FakeService()
    service.stop_error = retryable(StatusCode.UNAVAILABLE, "UNAVAILABLE", "not recorded", 1.0)
    async with fake_server(service) as server:
        done = await server.run_cli("stop", "--no-wait", HANDLE)
    assert (done.code, len(service.stops)) == (3, 1)
    assert done.err == f"Error: {HANDLE} could not be stopped. not recorded\n".encode()


@pytest.mark.parametrize(
    "words", [["signal", HANDLE], ["signal"], ["pause"], ["resume", HANDLE, "2"], ["stop"]]
)
async def test_usage(words: list[str]) -> None:
    """Said before anybody is asked."""
    async with fake_server() as server:
        done = await server.run_cli(*words)
        assert (done.code, server.service.controls, server.service.stops) == (2, [], [])
    assert done.err.startswith(b"Usage: ")
