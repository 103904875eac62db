"""What goes to which descriptor, in which form, and what becomes of one that takes nothing."""

import os
import re
import signal

import pytest
import trio
from fake_service import (
    HANDLE,
    FakeService,
    chunk,
    fake_server,
    finished,
    shown_lines,
    terminal,
)

from penstock.rpc.call_errors import RpcError, StatusCode

pytestmark = pytest.mark.slow  # some fifty processes

ESCAPE = b"\x1b]0;owned\x07\n"
ESCAPED = b"\\x1b]0;owned\\x07\n"


def both_streams() -> FakeService:
    service = FakeService()
    service.messages = [
        chunk(b"out " + ESCAPE, stream=1),
        chunk(b"err " + ESCAPE, stream=2, offset=4 + len(ESCAPE)),
        finished(),
    ]
    return service


@pytest.mark.parametrize(
    ("options", "exact"), [(["run", "ls"], False), (["run", "--raw", "ls"], True)]
)
@pytest.mark.parametrize("shown", ["stdout", "stderr"])
async def test_run_escapes_for_the_descriptor_that_is_a_terminal(
    options: list[str], exact: bool, shown: str
) -> None:
    """The other one has the exact bytes, and each has its own stream alone."""
    async with fake_server(both_streams()) as server, terminal() as (theirs, screen):
        if shown == "stdout":
            done = await server.run_cli(*options, out=theirs)
        else:
            done = await server.run_cli(*options, err=theirs)
    name, other = (b"out ", b"err ") if shown == "stdout" else (b"err ", b"out ")
    assert shown_lines(screen) == name + (ESCAPE if exact else ESCAPED)
    assert (done.err if shown == "stdout" else done.out) == other + ESCAPE
    assert done.code == 0


async def test_stream_escapes_for_a_terminal_although_stderr_is_a_file() -> None:
    """Both streams on standard output, in order; raw only with --raw, and then apart."""
    async with fake_server(both_streams()) as server:
        async with terminal() as (theirs, screen):
            done = await server.run_cli("stream", "--no-timestamps", HANDLE, out=theirs)
        lines = shown_lines(screen).split(b"================\n")[1]
        assert lines == b"ls started\nout " + ESCAPED + b"err " + ESCAPED
        assert done.err == b"The job exited with code 0.\n"
        async with terminal() as (theirs, screen):
            done = await server.run_cli("stream", "--raw", HANDLE, err=theirs)
        assert done.out == b"out " + ESCAPE
        assert shown_lines(screen) == b"err " + ESCAPE


async def test_a_progress_bar_and_the_end_of_a_job_on_a_terminal() -> None:
    """Row 80: each text of the bar in the place of the one before; what the CLI says itself is on
    a line of its own, and nothing of the job's hides there."""
    service = FakeService()
    pieces = [b"10%\r", b"99%\r", b"done \xf3\xa0\x81\x81", b"\n2026-11-23 forged\rreal"]
    at = 0
    for piece in pieces:
        service.messages.append(chunk(piece, offset=at))
        at += len(piece)
    service.messages.append(finished())
    async with fake_server(service) as server, terminal() as (theirs, screen):
        copy = os.dup(theirs)
        done = await server.run_cli("stream", HANDLE, out=theirs, err=copy)
    assert done.code == 0
    text = shown_lines(screen).split(b"\n- ls started\n")[1]
    time = rb"\d{4}-\d\d-\d\dT[0-9:.]{12}Z "
    bar = [time + rb"10%", time + rb"99%", time + rb"done \\U000e0041\n"]
    rest = time + rb"real\nThe job exited with code 0\.\n"
    assert re.fullmatch(rb"\r *\r".join(bar) + rest, text), text


def closed_pipe() -> int:
    """A descriptor whose reader has gone."""
    ours, theirs = os.pipe()
    os.close(ours)
    return theirs


@pytest.mark.parametrize("verb", [["stop", HANDLE], ["start", "ls"], ["status", HANDLE]])
@pytest.mark.parametrize("broken", ["pipe", "full", "closed"])
async def test_a_broken_stdout_keeps_no_verb_from_acting(verb: list[str], broken: str) -> None:
    """A reader who has gone is no failure; a full disk or a closed descriptor is, and is said."""
    async with fake_server() as server:
        service = server.service
        if broken == "closed":
            done = await server.run_cli(*verb, without=(1,))
        else:
            out = closed_pipe() if broken == "pipe" else os.open("/dev/full", os.O_WRONLY)
            done = await server.run_cli(*verb, out=out)
    assert b"Traceback" not in done.err
    if verb[0] == "status":
        assert (done.code, done.err) == (4, b"Error: Job 48213 not found\n")
        return
    assert len(service.stops if verb[0] == "stop" else service.starts) == 1
    assert done.code == (0 if broken == "pipe" else 1)
    assert (HANDLE.encode() in done.err) == (verb[0] == "start")
    if broken != "pipe":
        assert b"what was asked for is done, but standard output could not be written" in done.err


@pytest.mark.parametrize(
    ("verb", "broken", "code"),
    [
        (["stream", HANDLE], "pipe", 0),
        (["stream", HANDLE], "full", 1),
        (["stream", "--exit-code", HANDLE], "pipe", 125),
        (["stream", "--exit-code", HANDLE], "full", 125),
        (["stream", "--raw", HANDLE], "full", 1),
        (["-o", "json", "stream", HANDLE], "full", 1),
        (["run", "ls"], "pipe", 125),
        (["run", "ls"], "full", 125),
        (["wait", HANDLE], "pipe", 0),
        (["wait", HANDLE], "full", 125),
    ],
)
async def test_output_that_nobody_takes(verb: list[str], broken: str, code: int) -> None:
    """What the exit status says is true: of the job only when its end is known."""
    service = both_streams()
    service.stream_may_end = trio.Event()
    async with fake_server(service) as server:
        out = closed_pipe() if broken == "pipe" else os.open("/dev/full", os.O_WRONLY)
        done = await server.run_cli(*verb, out=out)
    assert done.code == code, done.err
    assert b"Traceback" not in done.err
    if code != 0:
        assert b"standard output could not be written to" in done.err
    if verb[0] == "run":
        assert f"penstock stream {HANDLE} --offset 0\n".encode() in done.err


async def test_a_jobs_failure_hides_no_failure_of_ours() -> None:
    """Its sentence did not come out: its status alone would look as if it had."""
    service = both_streams()
    service.end.exit_code = 5
    async with fake_server(service) as server:
        done = await server.run_cli("wait", HANDLE)
        assert (done.code, done.err) == (5, b"")
        done = await server.run_cli("wait", HANDLE, out=os.open("/dev/full", os.O_WRONLY))
    assert done.code == 125
    assert done.err.count(b"standard output could not be written to") == 1


@pytest.mark.slow
async def test_closed_descriptors_are_never_given_to_a_socket() -> None:
    """Nothing of the job's output goes to the server; without standard error alone, all is well."""
    async with fake_server(both_streams()) as server:
        done = await server.run_cli("run", "ls", without=(0, 1, 2))
        assert done.code == 125
        done = await server.run_cli("run", "ls", without=(2,))
        assert (done.code, done.out) == (0, b"out " + ESCAPE)
        done = await server.run_cli("stop", HANDLE, without=(0, 1, 2))
        assert done.code == 1
        done = await server.run_cli("stop", HANDLE, without=(0, 2))
        assert (done.code, done.out.count(b"\n")) == (0, 2)
    assert len(server.service.stops) == 2


async def test_help_to_a_full_disk_is_a_failure() -> None:
    """click's own texts take the same way."""
    async with fake_server() as server:
        done = await server.run_cli("--help", out=os.open("/dev/full", os.O_WRONLY))
        assert done.code == 1
        done = await server.run_cli("--help", out=closed_pipe())
        assert (done.code, done.err) == (0, b"")


@pytest.mark.parametrize("verb", [["stream"], ["stream", "--raw"], ["stream", "--no-timestamps"]])
async def test_the_offset_to_go_on_from_counts_what_was_written(verb: list[str]) -> None:
    """A reader that takes nothing: what waits in the pipe's way is not counted."""
    service = FakeService()
    # More than a pipe holds, so that the second write cannot be complete.
    big = b"x" * 999 + b"\n"
    service.messages = [chunk(b"hello\n"), chunk(big * 1000, offset=6)]
    service.stream_may_end = trio.Event()
    ours, theirs = os.pipe()
    try:
        async with fake_server(service) as server, server.cli(*verb, HANDLE, out=theirs) as cli:
            seen = b""
            while b"xxx" not in seen:  # the big one is being written, and can never be whole
                seen += await trio.to_thread.run_sync(os.read, ours, 64)
            cli.process.send_signal(signal.SIGINT)
            done = await cli.done()
    finally:
        os.close(ours)
    assert done.code == 130
    assert done.err.endswith(b"--offset 6\n")


async def test_an_offset_counts_no_half_character_of_a_terminal() -> None:
    """What was held back comes again, whole."""
    service = FakeService()
    service.messages = [chunk(b"ab\xc3")]
    service.stream_may_end = trio.Event()
    async with fake_server(service) as server, server.cli("stream", HANDLE) as cli:
        await cli.wait_for(b"ab")
        cli.process.send_signal(signal.SIGTERM)
        done = await cli.done()
    assert done.code == 143
    assert done.err.endswith(b"--offset 2\n")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["stream", HANDLE], 1),
        (["stream", "--raw", HANDLE], 1),
        (["-o", "json", "stream", HANDLE], 1),
        (["stream", "--exit-code", HANDLE], 125),
        (["stream", "--exit-code", "--no-follow", HANDLE], 125),
        (["run", "ls"], 125),
    ],
)
@pytest.mark.parametrize("how", ["clean", "error", "lost"])
async def test_an_end_without_an_end_record_is_no_success(
    options: list[str], code: int, how: str
) -> None:
    """However the stream ends."""
    service = FakeService()
    service.messages = [chunk(b"hello\n")]
    if how == "error":
        service.stream_error = RpcError(StatusCode.INTERNAL, "it broke")
    if how == "lost":
        service.stream_may_end = trio.Event()
    if how == "lost":
        place = options.index(HANDLE if HANDLE in options else "ls")
        options = [*options[:place], "--reconnect", "0", *options[place:]]
    async with fake_server(service) as server, server.cli(*options) as cli:
        if how == "lost":
            await service.stream_read.wait()
            server.break_connections()
        done = await cli.done()
    expected = 3 if how == "lost" and code == 1 else code
    assert done.code == expected, done.err
    assert (b'{"error": {' if "json" in options else b"Error: ") in done.err


async def test_a_stream_that_need_not_follow_may_end_early() -> None:
    """--no-follow asks for what is there."""
    service = FakeService()
    service.messages = [chunk(b"hello\n")]
    async with fake_server(service) as server:
        done = await server.run_cli("stream", "--no-follow", HANDLE)
        # What stands around a part of the output is on standard error.
        around = f"Starting output stream for {HANDLE}...\n================\n".encode()
        assert (done.code, done.err) == (0, around)
        done = await server.run_cli("stream", "-q", "--no-follow", HANDLE)
        assert (done.code, done.err) == (0, b"")


async def test_what_comes_after_the_end_record_changes_nothing() -> None:
    """All of the output is there by then."""
    service = FakeService()
    service.messages = [chunk(b"hello\n"), finished(4)]
    service.stream_error = RpcError(StatusCode.INTERNAL, "late")
    async with fake_server(service) as server:
        done = await server.run_cli("stream", "--exit-code", HANDLE)
    assert done.code == 4


async def test_characters_that_the_encoding_lacks_are_escapes() -> None:
    """In ASCII, of the job's output and of an argument alike."""
    service = FakeService()
    service.messages = [chunk("größe\n".encode()), finished()]
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    async with fake_server(service) as server:
        done = await server.run_cli("stream", "--no-timestamps", HANDLE, environment=ascii_only)
        assert (done.code, done.out.splitlines()[-1]) == (0, b"gr\\xf6\\xdfe")
        done = await server.run_cli("start", "größe", environment=ascii_only)
        assert (done.code, done.err) == (0, b"")
