"""Clients that arrive while the server is killed or restarted: nobody is refused, by any verb."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
import trio
from arrivals import Arrivals
from patience import patient
from restarts import kill_server
from running import RunningServer, policy_text, running_server, script

from penstock.client import connect
from penstock.client.follow import Follower

COMMANDS = script("idle", "echo ready; sleep 300", grace="200ms") + script("say", "echo kept")
COMMANDS += script("take", "cat") + "stdin = true\n"
CLIENTS = '[clients.alice]\ncommands = ["idle", "say", "take"]\nstarts_per_minute = 10000\n'


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(policy_text(COMMANDS, CLIENTS), drain_s=0.5) as server:
        yield server


def is_another(server: RunningServer, pids: list[int]) -> bool:
    """A server that is not the last of ``pids``, and then it is."""
    with contextlib.suppress(AssertionError, OSError):  # there is none, or it has just ended
        pid = server.server_pid()
        if pid != pids[-1]:
            pids.append(pid)
            return True
    return False


async def test_new_clients_are_never_refused(server: RunningServer) -> None:
    """C13, C13b, C30, C34: each 50 ms one, over a kill and over a planned restart that drains while
    a stream goes on; that goes on with the next server."""
    arrivals = Arrivals(server)
    async with connect(server.endpoint("alice")) as client:
        job = await client.start("idle")
    follower = Follower(server.endpoint("alice"), job.handle)
    streaming = trio.Event()

    async def take(message: object) -> None:
        streaming.set()

    pids = [server.server_pid()]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follower.deliver, take)
        await streaming.wait()
        nursery.start_soon(arrivals.keep_coming)
        with trio.fail_after(patient(30)):
            for planned in (False, True):
                await arrivals.until_served(1)
                if planned:
                    server.process.send_signal(signal.SIGUSR2)
                else:
                    await kill_server(server)
                while not is_another(server, pids):
                    await arrivals.until_served(1)
            await arrivals.all_served()
        nursery.cancel_scope.cancel()
    assert len(set(pids)) == 3
    assert (arrivals.refused, arrivals.failed) == ([], [])
    assert arrivals.served == arrivals.came >= 2 * 3
    async with connect(server.endpoint("alice")) as client:
        assert (await client.stop(job.handle)).job.end.reason == "stopped"


def cli(server: RunningServer, *words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", *words],
        env=server.environment("alice"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "restart"])
async def test_every_verb_over_a_restart(server: RunningServer, how: str) -> None:
    """C30: each is begun while no server is there; what it asks for happens, and it is 0."""
    idle = [server.start("alice", "idle") for _ in range(3)]
    fed = server.start("alice", "--stdin", "take")
    old = server.start("alice", "say")
    assert server.cli("alice", "wait", old).returncode == 0
    verbs: list[tuple[str, ...]] = [
        ("start", "say"),
        ("run", "say"),
        ("stop", idle[0]),
        ("signal", idle[1], "CONT"),
        ("pause", idle[2]),
        ("send", fed),
        ("status", idle[1]),
        ("stream", old),
        ("wait", fed),
        ("list",),
        ("rm", old),
        ("version",),
    ]
    if how == "kill":
        os.kill(server.server_pid(), signal.SIGKILL)
    else:
        server.process.send_signal(signal.SIGUSR2)
    running = {words: cli(server, *words) for words in verbs}
    for words, process in running.items():
        out, err = await trio.to_thread.run_sync(process.communicate)
        if words == ("stream", old):  # or rm was sooner
            assert process.returncode in (0, 4), err
            continue
        assert (process.returncode, err) == (0, b""), words
        assert out or words[0] == "run"
    assert server.cli("alice", "resume", idle[2]).returncode == 0
    for pid in idle[1:]:
        assert server.cli("alice", "stop", pid).returncode == 0
