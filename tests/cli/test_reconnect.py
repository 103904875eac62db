"""stream and run go on by themselves, begin where they are told, and say what is missing."""

import base64
import hashlib
import json
import signal

import pytest
import trio
from fake_service import HANDLE, FakeService, chunk, fake_server, finished, gap

from penstock.cli.times import since
from penstock.rpc.call_errors import RpcError, StatusCode

NOW_NS = 1_800_000_000_000_000_000


def two_halves() -> FakeService:
    """Half of the output is there; the rest comes with ``stream_may_end``."""
    service = FakeService()
    service.messages = [chunk(b"one\n")]
    service.stream_may_end = trio.Event()
    end = finished(0)
    end.finished.output_sha256 = hashlib.sha256(b"one\ntwo\n").hexdigest()
    end.finished.sha256_to = 8
    service.at_stop = [chunk(b"two\n", offset=4), end]
    return service


@pytest.mark.parametrize(
    "words",
    [["stream", "--raw", HANDLE], ["stream", "--no-timestamps", HANDLE], ["run", "ls"]],
)
async def test_a_restart_of_the_server_does_not_end_it(words: list[str]) -> None:
    """It is said once that the connection was lost, and once that it goes on; no byte twice."""
    service = two_halves()
    async with fake_server(service) as server, server.cli(*words) as cli:
        await cli.wait_for(b"one\n")
        server.break_connections()
        await cli.wait_for(b"Connection lost (")
        service.stream_may_end.set()
        await server.serve()
        done = await cli.done()
    assert done.code == 0, done.err
    assert done.out.endswith(b"one\ntwo\n")
    assert done.out.count(b"one\n") == 1
    lines = [line for line in done.err.decode().splitlines() if "exited" not in line]
    assert len(lines) == 2, lines
    assert lines[0].startswith("Connection lost (")
    assert lines[0].endswith("); trying for 60 s to go on")
    assert lines[1] == "Connected again; the output goes on at byte 4"
    assert [request.offset for request in service.streams] == [0, 4]


async def test_json_stays_one_object_a_line() -> None:
    """The job once, chunks, the end; a new connection is not in it."""
    service = two_halves()
    async with fake_server(service) as server, server.cli("-o", "json", "stream", HANDLE) as cli:
        await cli.wait_for(b"data")
        server.break_connections()
        service.stream_may_end.set()
        await server.serve()
        done = await cli.done()
    objects = [json.loads(line) for line in done.out.splitlines()]
    assert [next(iter({"job", "data", "finished"} & set(each))) for each in objects] == [
        "job",
        "data",
        "data",
        "finished",
    ]
    assert base64.b64decode(objects[2]["data"]) == b"two\n"
    assert done.code == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["stream", "--reconnect", "0.3", HANDLE], 3),
        pytest.param(
            *(["stream", "--exit-code", "--reconnect", "0.3", HANDLE], 125), marks=pytest.mark.slow
        ),
        pytest.param(*(["run", "--reconnect", "0.3", "ls"], 125), marks=pytest.mark.slow),
    ],
)
async def test_a_server_that_stays_away_is_given_up(words: list[str], code: int) -> None:
    """With how to go on."""
    service = two_halves()
    async with fake_server(service) as server, server.cli(*words) as cli:
        await cli.wait_for(b"one\n")
        server.break_connections()
        done = await cli.done()
    assert done.code == code, done.err
    assert b"given up after 0.3 s without anything new" in done.err
    assert f"penstock stream {HANDLE} --offset 4\n".encode() in done.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["stream", HANDLE], 1),
        (["-o", "json", "stream", HANDLE], 1),
        (["stream", "--exit-code", HANDLE], 125),
        (["run", "ls"], 125),
    ],
)
async def test_other_bytes_than_the_end_records_are_no_success(words: list[str], code: int) -> None:
    """Nobody is told to go on behind them."""
    service = FakeService()
    end = finished(0)
    end.finished.output_sha256 = "0" * 64
    end.finished.sha256_to = 4
    service.messages = [chunk(b"one\n"), end]
    async with fake_server(service) as server:
        done = await server.run_cli(*words)
    assert done.code == code
    assert b"the job's end record says 0000" in done.err
    assert b"go on with" not in done.err
    assert b"Detached" not in done.err


async def test_output_out_of_order_is_no_success() -> None:
    """And nothing of it is printed."""
    service = FakeService()
    service.messages = [chunk(b"one\n"), chunk(b"three\n", offset=9), finished(0)]
    async with fake_server(service) as server:
        done = await server.run_cli("stream", "--raw", HANDLE)
    assert (done.code, done.out) == (1, b"one\n")
    assert done.err.startswith(b"Error: byte 9 came where byte 4 was due; go on with: ")


async def test_an_interrupted_run_stops_its_job_also_while_it_is_cut_off() -> None:
    """The stop is asked for until the server is back."""
    service = two_halves()
    async with fake_server(service) as server, server.cli("run", "ls") as cli:
        await cli.wait_for(b"one\n")
        server.break_connections()
        await cli.wait_for(b"Connection lost")
        cli.process.send_signal(signal.SIGINT)
        await cli.wait_for(b"Stopping")
        await server.serve()
        done = await cli.done()
    assert {request.pid for request in service.stops} == {HANDLE}
    assert (done.code, done.out) == (0, b"one\ntwo\n")


async def test_an_interrupt_detaches_while_it_is_cut_off() -> None:
    """At once, with how to go on."""
    service = two_halves()
    async with fake_server(service) as server, server.cli("stream", HANDLE) as cli:
        await cli.wait_for(b"one\n")
        server.break_connections()
        await cli.wait_for(b"Connection lost")
        cli.process.send_signal(signal.SIGINT)
        done = await cli.done()
    assert done.code == 130
    assert done.err.endswith(f"penstock stream {HANDLE} --offset 4\n".encode())


async def test_where_it_begins_and_what_of_it() -> None:
    """Each option is in the request; how to go on names the streams and the place."""
    service = FakeService()
    service.begins = 100
    service.messages = [chunk(b"late\n", offset=100, stream=2)]
    service.stream_may_end = trio.Event()
    words = ["stream", "--tail", "3", "--stderr", "--no-timestamps", HANDLE]
    async with fake_server(service) as server, server.cli(*words) as cli:
        await cli.wait_for(b"late\n")
        cli.process.send_signal(signal.SIGINT)
        done = await cli.done()
        assert done.err.endswith(f"penstock stream {HANDLE} --stderr --offset 105\n".encode())
        assert b"started" not in done.out
        service.stream_may_end.set()
        time = "2026-11-23T11:21:38.123456789Z"
        await server.run_cli("stream", "--no-follow", "--since", time, "--stdout", HANDLE)
        await server.run_cli("stream", "--no-follow", "--offset", "100", HANDLE)
    tail, since_time, offset = service.streams
    assert (tail.tail_lines, list(tail.streams), tail.no_follow) == (3, [2], False)
    assert (since_time.since_ns, list(since_time.streams)) == (1_795_432_898_123_456_789, [1])
    assert (offset.offset, list(offset.streams), offset.no_follow) == (100, [], True)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--tail", "1", "--offset", "0"], "--offset and --tail exclude each other"),
        (["--tail", "1", "--since", "5m"], "--tail and --since exclude each other"),
        (["--tail", "-1"], "-1 is not in the range"),
        (["--tail", "0", "--offset", "0"], "--offset and --tail exclude each other"),
        (["--tail", "x"], "is not a valid int"),
        (["--since", "yesterday"], "'yesterday' is no time"),
        (["--reconnect", "-1"], "is not in the range"),
    ],
)
async def test_beginnings_that_are_none(words: list[str], text: str) -> None:
    """Usage, before anything is asked; 125 where a job's status is passed through."""
    async with fake_server() as server:
        done = await server.run_cli("stream", *words, HANDLE)
        assert done.code == 2
        assert text in done.err.decode()
        assert done.out == b""
        done = await server.run_cli("stream", "--exit-code", *words, HANDLE)
        assert done.code == 125
    assert server.service.streams == []


async def test_a_gap_is_a_sentence() -> None:
    """How much, where and why, on standard error; the output goes on behind it."""
    service = FakeService()
    service.messages = [
        gap(0, 4096, "retention"),
        chunk(b"a", offset=4096),
        gap(4097, 4098, "quota"),
        gap(4098, 4198, "disk"),
        gap(4198, 4200, "damaged"),
        gap(4200, 4300, "\x1b[1mnew"),
        finished(0),
    ]
    async with fake_server(service) as server:
        done = await server.run_cli("stream", "--raw", "--allow-gaps", HANDLE)
    assert (done.code, done.out) == (0, b"a")
    assert done.err.decode().splitlines() == [
        "[4096 bytes are missing here, from 0 to 4096: the oldest output made room for newer, "
        "or the job was removed]",
        "[1 byte is missing here, from 4097 to 4098: the limit of what is kept was reached]",
        "[100 bytes are missing here, from 4098 to 4198: the server's disk was full or failing]",
        "[2 bytes are missing here, from 4198 to 4200: the server's disk does not give back what "
        "was written]",
        "[100 bytes are missing here, from 4200 to 4300: \\x1b[1mnew]",
    ]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "ls"], 125),
        (["run", "--allow-gaps", "ls"], 3),
        (["-o", "json", "run", "ls"], 125),
        (["stream", HANDLE], 1),
        (["stream", "--allow-gaps", HANDLE], 0),
        (["stream", "--exit-code", "--raw", HANDLE], 125),
        (["stream", "--exit-code", "--allow-gaps", HANDLE], 3),
    ],
)
async def test_output_that_did_not_come_is_no_success(words: list[str], code: int) -> None:
    """Row 79: for whatever reason; the policy's own bound is one."""
    service = FakeService()
    service.messages = [chunk(b"one\n"), gap(4, 10, "quota"), finished(3)]
    async with fake_server(service) as server:
        done = await server.run_cli(*words)
    assert done.code == code, done.err
    before = b'"message": "' if "json" in words else b"Error: "
    lost = before + b"6 bytes are missing in the output; with --allow-gaps" in done.err
    assert lost == (code in (1, 125))


async def test_a_tail_of_nothing_is_what_is_new() -> None:
    """Asked for as such, and followed."""
    service = FakeService()
    service.begins = 100
    service.messages = [chunk(b"new\n", offset=100), finished(0)]
    async with fake_server(service) as server:
        done = await server.run_cli("stream", "--tail", "0", "--raw", HANDLE)
    assert (done.code, done.out) == (0, b"new\n")
    (request,) = service.streams
    assert (request.HasField("tail_lines"), request.tail_lines) == (True, 0)


async def test_rm_removes_each_and_says_so() -> None:
    """One that cannot be removed keeps no other from it; the first failure is the exit status."""
    service = FakeService()
    running = RpcError(StatusCode.FAILED_PRECONDITION, "job 2 is running; stop it first")
    service.removals = {"1": None, "2": running, "3": None}
    async with fake_server(service) as server:
        done = await server.run_cli("rm", "1", "3")
        assert (done.code, done.out, done.err) == (0, b"Removed job 1.\nRemoved job 3.\n", b"")
        done = await server.run_cli("rm", "1", "2", "9", "3")
        assert (done.code, done.out) == (6, b"Removed job 1.\nRemoved job 3.\n")
        assert done.err.decode().splitlines() == [
            "Error: 2 could not be removed. job 2 is running; stop it first",
            "Error: Job 9 not found",
        ]
        done = await server.run_cli("rm", "1", "3", "1")
        assert (done.code, done.out) == (0, b"Removed job 1.\nRemoved job 3.\n")
        done = await server.run_cli("rm", "9")
        assert (done.code, done.err) == (4, b"Error: Job 9 not found\n")
        done = await server.run_cli("-o", "json", "rm", "1", "3")
        handles = [json.loads(line)["handle"] for line in done.out.splitlines()]
        assert handles == ["1", "3"]
        assert (await server.run_cli("rm")).code == 2


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("5m", NOW_NS - 300 * 10**9),
        ("1h30m", NOW_NS - 5400 * 10**9),
        ("2d", NOW_NS - 172_800 * 10**9),
        ("0s", NOW_NS),
        ("999999999d", 1),
        ("1970-01-01T00:00:00Z", 1),
        ("1960-01-01T00:00:00Z", 1),
        ("2026-11-23T11:21:38Z", 1_795_432_898 * 10**9),
        ("2026-11-23 12:21:38.5+01:00", 1_795_432_898_500_000_000),
        ("2026-11-23t06:51:38.000000001-04:30", 1_795_432_898_000_000_001),
    ],
)
def test_times(text: str, ns: int) -> None:
    """RFC 3339, to the nanosecond, or how long ago."""
    assert since(text, NOW_NS) == ns


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "m", "5m1h", "-5m", "1.5h", "2026-11-23", "2026-11-23T11:21:38"),
        *("2026-02-30T00:00:00Z", "2026-11-23T11:21:38+24:00", "2300-01-01T00:00:00Z"),
        *("\u0665m", "2026-11-23T11:21:38Z "),
    ],
)
def test_what_is_no_time(text: str) -> None:
    """The error shows it and says what to write."""
    with pytest.raises(ValueError, match="time"):
        since(text, NOW_NS)
