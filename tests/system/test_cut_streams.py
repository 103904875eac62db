"""penstock stream through a network that breaks: exact against the real server."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio
from cutting_proxy import cutting_proxy
from fake_service import Cli
from running import RunningServer, policy_text, running_server, script

from penstock.client import connect
from penstock.client.follow import Follower

MB = 1_000_000
COMMANDS = (
    script("binary", f"head -c {30 * MB} /dev/urandom")
    + script("no-newline", f"head -c {3 * MB} /dev/zero | tr '\\0' y")
    + script("long-line", f"head -c {10 * MB} /dev/zero | tr '\\0' x; echo")
    + script("bytes", "i=0; while [ $i -lt 3000 ]; do printf x; i=$((i+1)); done")
    + script("half", "echo one; sleep 300")
    + script("both", "echo out; echo err >&2; echo more")
    + "".join(
        script(name, f"head -c {3 * MB} /dev/urandom")
        + f'output = "256KiB"\nwhen_full = "{full}"\n'
        for name, full in (("oldest-go", "drop_oldest"), ("newest-go", "drop_newest"))
    )
)
CLIENTS = """
[clients.alice]
commands = ["binary", "no-newline", "long-line", "bytes", "half", "both", "oldest-go", "newest-go"]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        yield server


@asynccontextmanager
async def penstock(server: RunningServer, port: int, *arguments: str) -> AsyncIterator[Cli]:
    """The CLI under way, through this port."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "penstock.cli", *arguments],
        env=server.environment("alice") | {"PENSTOCK_ADDR": f"127.0.0.1:{port}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    cli = Cli(process)
    async with trio.open_nursery() as nursery:
        cli.collect_in(nursery)
        try:
            yield cli
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True):  # it was killed
                await process.wait()


async def ask(server: RunningServer, *arguments: str) -> dict[str, Any]:
    """A verb's JSON."""
    words = ["-o", "json", *arguments]
    done = await trio.to_thread.run_sync(server.cli, "alice", *words)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.timeout(180)
@pytest.mark.parametrize("cuts", [20, pytest.param(100, marks=pytest.mark.slow)])
async def test_no_cut_changes_a_byte(server: RunningServer, cuts: int) -> None:
    """30 MB of random bytes while they are written and after; each loss and return is said."""
    handle = (await ask(server, "start", "binary"))["handle"]
    proxying = cutting_proxy(server.port, Random(1), cuts=cuts, most_bytes=400_000)
    async with proxying as proxy:
        async with penstock(server, proxy.port, "stream", "--raw", "--exit-code", handle) as cli:
            await cli.process.wait()
        done = await cli.done()
    end = (await ask(server, "status", handle))["job"]["end"]
    assert proxy.done == cuts
    assert done.code == 0, done.err
    assert len(done.out) == int(end["output_bytes"]) == 30 * MB
    assert hashlib.sha256(done.out).hexdigest() == end["output_sha256"]
    lost = done.err.count(b"Connection lost (")
    assert lost == done.err.count(b"Connected again; the output goes on at byte ")
    assert cuts / 10 < lost <= cuts
    print(f"{lost} losses said for {cuts} cuts")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("command", "output"),
    [
        pytest.param("no-newline", b"y" * (3 * MB), marks=pytest.mark.slow),
        pytest.param("long-line", b"x" * (10 * MB) + b"\n", marks=pytest.mark.slow),
        ("bytes", b"x" * 3000),
    ],
)
async def test_any_shape_of_output_is_exact(
    server: RunningServer, command: str, output: bytes
) -> None:
    """Through ten cuts: no newline at all, ten megabytes on one line, one byte at a time."""
    handle = (await ask(server, "start", command))["handle"]
    proxying = cutting_proxy(server.port, Random(2), cuts=10, most_bytes=400_000)
    async with proxying as proxy:
        proxy.first_bytes = 5_000  # the shortest output must not be through by then
        async with penstock(server, proxy.port, "stream", "--raw", handle) as cli:
            await cli.process.wait()
        done = await cli.done()
    assert done.code == 0, done.err
    assert proxy.done > 0
    assert done.out == output
    end = (await ask(server, "wait", handle))["end"]
    assert end["output_sha256"] == hashlib.sha256(output).hexdigest()


@pytest.mark.parametrize("command", ["oldest-go", "newest-go"])
async def test_output_that_was_not_all_kept_is_checked_where_it_can_be(
    server: RunningServer, command: str
) -> None:
    """Bytes and gaps are all that was produced; a digest is compared, or it is said why not."""
    async with connect(server.endpoint("alice")) as client:
        handle = (await client.start(command)).handle
        for _ in range(2):  # live, and after the end
            follower = Follower(server.endpoint("alice"), handle)
            at = missing = 0
            async with follower.messages(client=client) as messages:
                async for message in messages:
                    assert message.offset == at
                    at = message.next_offset
                    missing += message.gap.to_offset - message.gap.from_offset
            assert at == 3 * MB
            assert bool(follower.verdict.why) is not follower.verdict.verified
            if command == "newest-go":  # every reader has what was there at the end
                assert missing >= 3 * MB - 256 * 1024
                assert follower.verdict.verified


async def test_a_killed_server_does_not_end_the_stream(server: RunningServer) -> None:
    """The next one goes on where it was; the end record says what became of the job."""
    handle = (await ask(server, "start", "half"))["handle"]
    async with penstock(server, server.port, "stream", "--raw", handle) as cli:
        await cli.wait_for(b"one\n")
        os.kill(server.server_pid(), signal.SIGKILL)
        await cli.wait_for(b"Connected again; the output goes on at byte 4\n")
        stopped = await trio.to_thread.run_sync(server.cli, "alice", "stop", handle)
        assert stopped.returncode == 0, stopped.stderr
        await cli.process.wait()
    done = await cli.done()
    assert (done.code, done.out) == (0, b"one\n"), done.err
    assert done.err.count(b"Connection lost (") == 1


def test_lines_times_and_streams(server: RunningServer) -> None:
    """--tail, --since, --stdout and --stderr against the real server."""
    handle = server.start("alice", "both")
    server.cli("alice", "wait", handle)
    raw = ("stream", "--raw", handle)
    assert server.cli("alice", *raw, "--stdout").stdout == "out\nmore\n"
    done = server.cli("alice", *raw, "--stderr")
    assert (done.stdout, done.stderr) == ("", "err\n")
    done = server.cli("alice", *raw, "--tail", "1", "--stdout")
    assert (done.stdout, done.stderr, done.returncode) == ("more\n", "", 0)
    assert server.cli("alice", *raw, "--since", "5m", "--stdout").stdout == "out\nmore\n"
    assert server.cli("alice", *raw, "--since", "0s").stdout == ""


def test_rm_forgets_a_finished_job_and_no_other(server: RunningServer) -> None:
    """A running one is to be stopped first; what is removed is unknown from then on."""
    handle = server.start("alice", "half")
    done = server.cli("alice", "rm", handle)
    assert (done.returncode, done.stdout) == (6, "")
    assert re.fullmatch(rf"Error: {handle} could not be removed\. .*; stop it first\n", done.stderr)
    server.cli("alice", "stop", handle)
    done = server.cli("alice", "rm", handle)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Removed job {handle}.\n", "")
    done = server.cli("alice", "rm", handle)
    assert (done.returncode, done.stderr) == (4, f"Error: Job {handle} not found\n")
