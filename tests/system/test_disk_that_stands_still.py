"""Row 66: the disk of records and output stands still, and goes on."""

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import killing
import pytest
import trio
from disks import FrozenDisk, freezable_disk
from patience import patient
from running import RunningServer, policy_text, running_server, script
from this_run import new_directory

from penstock.client import Client, connect
from penstock.proto import command_pb2 as pb

pytestmark = pytest.mark.root

GRACE_S, TIMEOUT_S = 1.0, 2.0
# Of the disk; the kernel may be slow to kill.
LONG_S, LONGER_S = 8.0, 30.0
SILENCE_S = 4.0
DEAF = "trap 'echo heard' TERM; echo ready; while :; do sleep 0.1; done"
COMMANDS = (
    script("deaf", DEAF)
    + script("timed", DEAF, grace="1s")
    + f'timeout = "{TIMEOUT_S:g}s"\n'
    + script("talk", "i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); echo $i; sleep 0.001; done")
)
CLIENTS = '[clients.alice]\ncommands = ["deaf", "timed", "talk"]\n'


@pytest.fixture
def disk() -> Iterator[FrozenDisk]:
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(freezable_disk())
        except (subprocess.CalledProcessError, FileNotFoundError):
            pytest.skip("no loop device, or no mkfs.ext4")
        yield made


@pytest.fixture
def server(disk: FrozenDisk) -> Iterator[RunningServer]:
    elsewhere = new_directory("audit")
    try:
        policy = policy_text(COMMANDS, CLIENTS)
        audit = f"{elsewhere}/log"
        with running_server(policy, state_dir=str(disk.path), audit_log=audit) as server:
            yield server
    finally:
        shutil.rmtree(elsewhere)


async def read_until(client: Client, handle: str, words: bytes) -> None:
    data = b""
    async with client.stream(handle) as messages:
        async for message in messages:
            data += message.data
            if words in data:
                return


async def is_dead(job: pb.Job) -> None:
    with trio.fail_after(patient(LONG_S)):
        while is_there(job):  # noqa: ASYNC110 - another's child
            await trio.sleep(0.05)


def is_there(job: pb.Job) -> bool:
    return Path(f"/proc/{job.handle}").exists()


def stands_still(pid: int) -> bool:
    """In an uninterruptible sleep, as who writes to such a disk is."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "D"


@pytest.mark.slow
@pytest.mark.parametrize("long_s", [LONG_S, pytest.param(LONGER_S, marks=pytest.mark.slow)])
async def test_nothing_is_lost_and_bounds_hold(
    server: RunningServer, disk: FrozenDisk, long_s: float
) -> None:
    """C24: a stop under way and a deadline end by KILL while the server stands still with its disk;
    calls wait, and are answered afterwards; every byte of output is there."""
    pid = server.server_pid()
    async with connect(server.endpoint("alice")) as alice:
        deaf = await alice.start("deaf")
        await read_until(alice, deaf.handle, b"ready")
        stopped: list[pb.StopResponse] = []

        async def stop() -> None:
            stopped.append(await alice.stop(deaf.handle, grace_s=GRACE_S))

        async with trio.open_nursery() as nursery:
            talk, timed = await alice.start("talk"), await alice.start("timed")
            await read_until(alice, timed.handle, b"ready")
            nursery.start_soon(stop)
            await read_until(alice, deaf.handle, b"heard")
            with disk.standing_still(at_most_s=120):
                begin = time.monotonic()
                with trio.fail_after(patient(LONG_S)):
                    while not stands_still(pid):  # noqa: ASYNC110 - nothing tells of it
                        await trio.sleep(0.01)
                await is_dead(deaf)
                await is_dead(timed)
                assert stopped == []
                assert stands_still(pid)
                await trio.sleep(begin + long_s - time.monotonic())
        (answer,) = stopped
        assert (answer.job.end.reason, answer.escalated) == ("stopped", True)
        end = (await alice.wait(timed.handle)).end
        assert (end.reason, end.escalated) == ("timed_out", True)
        end = (await alice.wait(talk.handle)).end
        assert (end.reason, end.exit_code, list(end.gaps)) == ("exited", 0, [])
        data = b""
        async with alice.stream(talk.handle) as messages:
            async for message in messages:
                data += message.data
        assert data.split() == [b"%d" % number for number in range(1, 3001)]
    assert server.server_pid() == pid


@pytest.mark.slow
async def test_a_server_that_waits_for_its_disk_is_named_and_left_alone(disk: FrozenDisk) -> None:
    """C27: really in an uninterruptible sleep, for twice as long as a silent one may live: KILL
    would have to wait for the same disk. It goes on with that, the same process."""
    elsewhere = new_directory("audit")
    try:
        with running_server(
            policy_text(COMMANDS, CLIENTS),
            server_silence_s=SILENCE_S,
            state_dir=str(disk.path),
            audit_log=f"{elsewhere}/log",
        ) as server:
            pid = server.server_pid()
            async with connect(server.endpoint("alice")) as alice, trio.open_nursery() as nursery:
                deaf = await alice.start("deaf")
                await read_until(alice, deaf.handle, b"ready")
                with disk.standing_still(at_most_s=120), trio.fail_after(patient(LONGER_S)):
                    nursery.start_soon(partial(alice.stop, deaf.handle, grace_s=0.1))
                    while not is_named(server, pid):  # noqa: ASYNC110 - a line of its log
                        await trio.sleep(0.05)
                    assert stands_still(pid)
            async with connect(server.endpoint("alice")) as alice:
                with trio.fail_after(patient(LONG_S)):
                    assert (await alice.wait(deaf.handle)).end.reason == "stopped"
            assert server.server_pid() == pid
    finally:
        shutil.rmtree(elsewhere)


def is_named(server: RunningServer, pid: int) -> bool:
    text = f"the server, process {pid}, does not answer for"
    return any(text in line and "uninterruptible sleep" in line for line in server.log_lines)


@pytest.mark.slow
async def test_the_disk_of_the_log_holds_up_nobody(disk: FrozenDisk) -> None:
    """The log is a file there: jobs are started, time out and are killed, clients come and go, the
    server is replaced, while not a line can be written. They are there afterwards."""
    log = disk.path / "log"
    prefix = ["/bin/sh", "-c", f'exec "$@" 2>{log}', "sh"]
    with running_server(policy_text(COMMANDS, CLIENTS), prefix=prefix) as server:
        with disk.standing_still(at_most_s=120), trio.fail_after(patient(30)):
            server.process.send_signal(signal.SIGHUP)  # two lines
            await trio.sleep(0.1)  # in which whoever writes them would come to stand still
            async with connect(server.endpoint("alice")) as alice:
                timed, deaf = await alice.start("timed"), await alice.start("deaf")
                await read_until(alice, deaf.handle, b"ready")
                assert (await alice.stop(deaf.handle, grace_s=0.1)).escalated
                await killing.kill_server(server)
            async with connect(server.endpoint("alice")) as alice:
                assert (await alice.wait(timed.handle)).end.reason == "timed_out"
        wanted = "was killed by signal 9; starting it again"
        with trio.fail_after(patient(LONG_S)):
            while wanted not in log.read_text():  # noqa: ASYNC110 - a file
                await trio.sleep(0.02)
    text = log.read_text()
    assert text.index("SIGHUP: ") < text.index(wanted) < text.index("SIGTERM: stopping")
