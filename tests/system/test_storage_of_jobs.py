"""A job that takes more of the disk than its class allows ends, and it alone."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from patience import patient, slowness
from running import IS_ROOT, RunningServer, policy_text, running_server, script

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError
from penstock.supervisor.storage.storage_watch import LOOK_CPU_S

BOUND = 8_000_000
FILES = 200
NEEDS = '{ disk = "direct_io", storage = "watched" }' if IS_ROOT else '{ all = "best_effort" }'
CLASSES = f"""
[classes.tight]
storage = "8MB"
files = {FILES}
needs = {NEEDS}

[classes.strict]
storage = "8MB"
"""
# No file is longer than the bound, and the sum is.
BYTES = "for i in 1 2 3 4; do fallocate -l 4000000 $i; done; echo full; sleep 300"
HOLD = "i=0; while [ $i -lt 300 ]; do : > $i; i=$((i+1)); done; echo full; sleep 300"
UNLINKED = "exec 5>a; rm a; exec 6>b; rm b; exec 7>c; rm c; "
UNLINKED += "for i in 5 6 7; do fallocate -l 4000000 /proc/self/fd/$i; done; echo full; sleep 300"
OVER = {
    "bytes": BYTES,
    "files": HOLD,
    "temporary": f"cd /tmp; {BYTES}",
    "deaf": f"trap '' TERM; {BYTES}",
    "nameless": UNLINKED,
    "one-file": "head -c 20000000 /dev/zero > large",
    "main": "exec head -c 20000000 /dev/zero > large",
}
# The others in tools/test --all.
ALWAYS = ("files",)
COMMANDS = "".join(script(name, text, limits="tight", grace="300s") for name, text in OVER.items())
COMMANDS += script("bystander", "head -c 2000000 /dev/zero > f; echo ready; sleep 300")
COMMANDS += script("under", "fallocate -l 7000000 f; echo ready; sleep 300", limits="tight")
COMMANDS += script("strict", "true", limits="strict")
COMMANDS += script(
    "many", "i=0; while [ $i -lt 30000 ]; do : > $i; i=$((i+1)); done; echo ready; sleep 300"
)
NAMES = ", ".join(f'"{name}"' for name in OVER)
CLIENTS = "".join(
    f'[clients.{name}]\nstarts_per_minute = 1000\ncommands = ["bystander", "under", "strict", '
    f'"many", {NAMES}]\n'
    for name in ("alice", "bob")
)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(CLASSES + COMMANDS, CLIENTS)) as server:
        yield server


async def printed(client: Client, job: pb.Job) -> None:
    """The job has printed its one line."""
    async with client.stream(job.handle) as messages:
        async for message in messages:
            if message.data:
                return


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in ALWAYS)) for name in OVER],
)
async def test_only_the_one_that_is_over_ends(server: RunningServer, name: str) -> None:
    """Whatever it fills: it ends with storage_full, at once, and its directories are gone."""
    if name == "temporary" and not IS_ROOT:
        pytest.skip("without root a job has no /tmp of its own")
    async with connect(server.endpoint("alice")) as alice, connect(server.endpoint("bob")) as bob:
        other = await alice.start("bystander")
        near = await bob.start("under")
        await printed(alice, other)
        await printed(bob, near)
        job = await bob.start(name)
        with trio.fail_after(patient(10)):
            end = (await bob.wait(job.handle)).end
        assert end.reason == "storage_full"
        assert end.stopped_by == ""
        if name not in ("one-file", "main"):
            assert end.signal == signal.SIGKILL
        for client, running in ((alice, other), (bob, near)):
            assert (await client.status(running.handle)).job.state == pb.JOB_STATE_RUNNING
        await wait_directories(server, 2)
        shown = server.cli("bob", "status", job.handle)
        assert "it had more on the disk than its class allows." in shown.stdout
    assert [line["reason"] for line in server.audit() if line["event"] == "job.finished"] == [
        "storage_full"
    ]


async def wait_directories(server: RunningServer, count: int) -> None:
    """So many jobs have one. Nobody is told of a removal."""
    work = server.directory / "work"
    with trio.fail_after(patient(5)):
        # Of a removal there is no event.
        while len([p for p in work.iterdir() if p.suffix != ".tmp"]) != count:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def test_what_a_job_is_told_of_it(server: RunningServer) -> None:
    """The start's answer says what is held, and how; so does the host's."""
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("under")
        held = {entry.limit: (entry.state, entry.actual) for entry in job.enforcement}
        assert held["storage"] == ("partial", str(BOUND))
        assert held["files"] == ("partial", str(FILES))
        assert (job.limits.storage_bytes, job.limits.files) == (BOUND, FILES)
        host = {entry.limit: entry.state for entry in (await client.server_info()).limits}
        assert (host["storage"], host["files"]) == ("partial", "partial")


async def test_a_class_that_requires_it_must_say_watched(server: RunningServer) -> None:
    """What was written is required, and a look each second is not enough for that."""
    async with connect(server.endpoint("alice")) as client:
        with pytest.raises(RpcError) as caught:
            await client.start("strict")
    assert "storage is partial (looked at each second" in str(caught.value)


async def test_a_server_that_stands_still_keeps_nothing_full(server: RunningServer) -> None:
    """The supervisor ends the job, and its directories go, though the server answers nothing."""
    async with connect(server.endpoint("bob")) as client:
        job = await client.start("bytes")
        await wait_directories(server, 1)
        os.kill(server.server_pid(), signal.SIGSTOP)
        try:
            await wait_directories(server, 0)
        finally:
            os.kill(server.server_pid(), signal.SIGCONT)
        with trio.fail_after(patient(10)):
            assert (await client.wait(job.handle)).end.reason == "storage_full"


def looker(server: RunningServer) -> int | None:
    """The supervisor's child that looks: it has its command line, and no job's group."""
    supervisor = server.process.pid
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    own = Path(f"/proc/{supervisor}/cmdline").read_bytes()
    for pid in map(int, children):
        if Path(f"/proc/{pid}/cmdline").read_bytes() != own:
            continue
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            zombie = file.read().rsplit(")", 1)[1].split()[0] == "Z"
        if not zombie and not Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return pid
    return None


async def wait_looker(server: RunningServer, but: int = 0) -> int:
    """Nobody is told when it is there."""
    with trio.fail_after(patient(10)):
        while (pid := looker(server)) in (None, but):  # noqa: ASYNC110  # of a fork neither
            await trio.sleep(0.02)
    assert pid is not None
    return pid


@pytest.mark.slow
@pytest.mark.root  # without root subreapers have the same command line
async def test_a_looker_that_is_killed_is_followed_by_another(server: RunningServer) -> None:
    """It knows of the jobs that there are."""
    async with connect(server.endpoint("bob")) as client:
        near = await client.start("under")
        await printed(client, near)
        before = await wait_looker(server)
        os.kill(before, signal.SIGSTOP)
        job = await client.start("bytes")
        await printed(client, job)
        os.kill(before, signal.SIGKILL)
        await wait_looker(server, but=before)
        with trio.fail_after(patient(10)):
            assert (await client.wait(job.handle)).end.reason == "storage_full"
        assert (await client.status(near.handle)).job.state == pb.JOB_STATE_RUNNING


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.alone
async def test_a_look_takes_little_of_a_processor(server: RunningServer) -> None:
    """Of 30,000 files too: at most LOOK_CPU_S a second, beside what starting it has taken."""
    async with connect(server.endpoint("bob")) as client:
        job = await client.start("many")
        await printed(client, job)
        pid = await wait_looker(server)
        before, began = cpu_s(pid), time.monotonic()
        await trio.sleep(5)
        used, passed = cpu_s(pid) - before, time.monotonic() - began
    # A clock tick of 10 ms at each end, and a walk's last step.
    assert used <= (LOOK_CPU_S + 0.005) * (passed + 1) * slowness() + 0.02
    assert used >= LOOK_CPU_S


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
