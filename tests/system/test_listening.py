"""The port is penstockd's: in use, of a socket unit, queued in while nobody accepts, given up."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from patience import patient
from restarts import kill_server
from running import policy_text, running_server, script

from penstock.client import connect
from penstock.supervisor.client_listeners import BACKLOG

COMMANDS = script("say", "echo kept")
CLIENTS = '[clients.alice]\ncommands = ["say"]\n'
# As systemd does it: a socket of both kinds of addresses, and the process that it is meant for.
UNIT = """
import os, socket, sys, tomllib
with open(sys.argv[-1], "rb") as file:
    port = int(tomllib.load(file)["listen"].rpartition(":")[2])
made = socket.socket(socket.AF_INET6)
made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
made.bind(("::", 0 if int(sys.argv[1]) else port))
made.listen(100)
if made.fileno() != 3:
    os.dup2(made.fileno(), 3)
os.set_inheritable(3, True)
pid = os.getpid() + int(sys.argv[1])
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(pid)}
os.execv(sys.argv[2], sys.argv[2:])
"""


def as_unit(other: int = 0) -> list[str]:
    """``other``: as if it were meant for a process with so much higher a number."""
    return [sys.executable, "-I", "-c", UNIT, str(other)]


async def test_a_socket_of_a_unit_is_accepted_from() -> None:
    """By each server in turn; what it is is named, and its clients of IPv4 are let in by IPv6."""
    with running_server(policy_text(COMMANDS, CLIENTS), prefix=as_unit()) as server:
        await server.logged("ready; ")
        for _ in range(2):
            async with connect(server.endpoint("alice")) as client:
                assert (await client.server_info()).client_id == "alice"
            await kill_server(server)
        await server.logged(f"; clients connect to [::]:{server.port}\n")
        await server.logged("is not heeded: penstockd was started with sockets of")
        async with connect(server.endpoint("alice")) as client:
            await client.server_info()


@pytest.mark.slow
async def test_a_socket_that_is_meant_for_another_process_is_not() -> None:
    """LISTEN_PID is another's, and ``listen`` counts."""
    with running_server(policy_text(COMMANDS, CLIENTS), prefix=as_unit(other=1)) as server:
        await server.logged("ready; ")
        await server.logged(f"; clients connect to 127.0.0.1:{server.port}\n")


@pytest.mark.slow
def test_an_address_in_use_is_a_clear_error() -> None:
    """Exit status 2 and one line, with what to do; nothing of the one that has it is touched."""
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        second = server.directory / "second.toml"
        text = (server.directory / "penstockd.toml").read_text()
        for name in ("state", "run", "work"):
            text = text.replace(f'/{name}"', f'/{name}2"')
        second.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "penstock.penstockd", "--config", str(second)],
            capture_output=True,
            text=True,
            timeout=patient(20),
            check=False,
        )
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(
            f"penstockd: listen: 127.0.0.1:{server.port} cannot be listened on: "
            "Address already in use; stop the program that has it"
        )
        assert server.cli("alice", "list").returncode == 0


async def test_clients_are_refused_at_once_when_penstockd_stops() -> None:
    """Not left to wait for a server that does not come, though the last one drains."""
    with running_server(policy_text(COMMANDS, CLIENTS), drain_s=patient(20)) as server:
        async with connect(server.endpoint("alice")) as client:
            job = await client.start("say")
            await client.wait(job.handle)
            server.process.send_signal(signal.SIGTERM)
            with trio.fail_after(patient(10)):
                while True:  # until it has heard the signal
                    with socket.socket() as raw:
                        if raw.connect_ex(("127.0.0.1", server.port)) != 0:
                            break
                    await trio.sleep(0.01)
        await trio.to_thread.run_sync(server.process.wait)
        assert server.process.returncode == 0


@contextlib.contextmanager
def descriptors(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip(f"needs {count} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def queued(port: int) -> int:
    """Of a listening socket, /proc/net/tcp has it as its receive queue (proc(5))."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port:
            return int(fields[4].split(":")[1], 16)
    raise AssertionError("nobody listens")


def longest_queue() -> int:
    return min(BACKLOG, int(Path("/proc/sys/net/core/somaxconn").read_text()))


@pytest.mark.slow
async def test_a_queue_that_a_flood_has_filled_keeps_nobody_out() -> None:
    """While no server accepts; the next one takes it all, and a new client gets in."""
    with running_server(policy_text(COMMANDS, CLIENTS)) as server, descriptors(BACKLOG + 1000):
        pid = server.server_pid()
        os.kill(pid, signal.SIGSTOP)
        flood = []
        most = longest_queue()
        for _ in range(most + 200):
            made = socket.socket()
            made.setblocking(False)
            made.connect_ex(("127.0.0.1", server.port))
            flood.append(made)
        assert queued(server.port) > most * 0.95
        async with trio.open_nursery() as nursery:
            answered = trio.Event()

            async def arrive() -> None:
                async with connect(server.endpoint("alice")) as client:
                    await client.server_info()
                answered.set()

            nursery.start_soon(arrive)
            os.kill(pid, signal.SIGKILL)
            with trio.fail_after(patient(10)):
                await answered.wait()
        for made in flood:
            made.close()
