"""Whoever takes our log is gone, does not read, or has a full disk: nobody else notices.

Jobs, clients, the server and its supervisor go on, also when the server is killed then.
"""

import contextlib
import os
import pty
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import killing
import pytest
import trio
from patience import patient
from running import RunningServer, policy_text, running_server, script
from this_run import new_directory

from penstock.client import connect

COMMANDS = script("ticks", "while :; do echo tick; sleep 0.1; done", grace="100ms")
CLIENTS = '[clients.alice]\ncommands = ["ticks"]\n'


def fill(path: str) -> None:
    """Until not one byte more goes in."""
    fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(fd, b"." * size)
    finally:
        os.close(fd)


@dataclass
class Taker:
    """Who takes the log: ``redirection`` is the shell's; ``leave`` makes it take no more."""

    redirection: str
    leave: Callable[[], None] = lambda: None
    read_fd: int = -1

    @property
    def prefix(self) -> list[str]:
        return ["/bin/sh", "-c", f'exec "$@" {self.redirection}', "sh"]


@contextlib.contextmanager
def pipe_to(leave: Callable[[str, int], None]) -> Iterator[Taker]:
    """One with a name, as somebody else than the test opens it for writing."""
    directory = new_directory("log")
    path = str(directory / "log")
    os.mkfifo(path)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield Taker(f"2>{path}", lambda: leave(path, fd), fd)
    finally:
        with contextlib.suppress(OSError):
            os.close(fd)
        os.unlink(path)
        directory.rmdir()


@contextlib.contextmanager
def terminal() -> Iterator[Taker]:
    """Its window is closed."""
    master, slave = pty.openpty()
    try:
        yield Taker(f"2>{os.ttyname(slave)}", lambda: os.close(master))
    finally:
        os.close(slave)


@contextlib.contextmanager
def plain(redirection: str) -> Iterator[Taker]:
    """There is nothing more to it."""
    yield Taker(redirection)


TAKERS = {
    "gone": lambda: pipe_to(lambda _, fd: os.close(fd)),
    "does-not-read": lambda: pipe_to(lambda path, _: fill(path)),
    "full-disk": lambda: plain("2>/dev/full"),
    "closed": lambda: plain("0<&- 1>&- 2>&-"),
    "hung-up": terminal,
}


@contextlib.contextmanager
def taking(kind: str) -> Iterator[tuple[RunningServer, Taker]]:
    with (
        TAKERS[kind]() as taker,
        running_server(policy_text(COMMANDS, CLIENTS), prefix=taker.prefix) as server,
    ):
        yield server, taker


async def answered(server: RunningServer) -> str:
    """All that a client wants is done; how the job is."""
    async with connect(server.endpoint("alice")) as client:
        await client.server_info()
        job = await client.start("ticks")
        async with client.stream(job.handle) as messages:
            async for message in messages:
                if b"tick" in message.data:
                    break
        return str(job.handle)


def uninvited(server: RunningServer) -> None:
    """A peer without a certificate: each has a line of the server's log."""
    with socket.create_connection(("127.0.0.1", server.port), patient(5)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(OSError):
            connection.recv(1)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "does-not-read")) for kind in TAKERS],
)
async def test_nobody_notices_that_the_log_is_not_taken(kind: str) -> None:
    """The server is killed, peers cause lines, files are read again: jobs and clients go on."""
    with taking(kind) as (server, taker):
        with trio.fail_after(patient(60)):
            first = await answered(server)
            taker.leave()
            for _ in range(30):
                await trio.to_thread.run_sync(uninvited, server)
            server.process.send_signal(signal.SIGHUP)
            second = await answered(server)
            await killing.kill_server(server)
            assert server.process.poll() is None
            third = await answered(server)
            async with connect(server.endpoint("alice")) as client:
                known = {job.handle: job for job in await client.jobs()}
                assert set(known) == {first, second, third}
                for handle in known:
                    assert (await client.stop(handle, reason="enough")).job.end.reason == "stopped"


async def test_what_was_lost_is_told_once_there_is_room() -> None:
    """Without another line that would have to come first."""
    with taking("does-not-read") as (server, taker):
        taker.leave()
        with trio.fail_after(patient(60)):
            await killing.kill_server(server)  # its end and the next one's beginning are lines
            data = b""
            while b" lost, as nobody took them\n" not in data:
                await trio.lowlevel.wait_readable(taker.read_fd)
                data += os.read(taker.read_fd, 65536)


@pytest.mark.root
async def test_a_server_does_not_wait_for_a_supervisor_that_does_not_read_its_log() -> None:
    """Its own pipe to it is full: it answers as before."""
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        await answered(server)
        pid = server.server_pid()
        server.process.send_signal(signal.SIGSTOP)
        try:
            await trio.to_thread.run_sync(fill, f"/proc/{pid}/fd/2")
            with trio.fail_after(patient(20)):
                for _ in range(30):
                    await trio.to_thread.run_sync(uninvited, server)
                async with connect(server.endpoint("alice")) as client:
                    await client.server_info()
                    assert len(await client.jobs()) == 1
        finally:
            server.process.send_signal(signal.SIGCONT)


def test_the_server_has_no_descriptor_of_the_log() -> None:
    """It has a pipe to the supervisor in its place, so nothing that it does can fill or lock it."""
    with running_server(policy_text(COMMANDS, CLIENTS)) as server:
        ours = Path(f"/proc/{server.process.pid}/fd/2").stat().st_ino
        fds = Path(f"/proc/{server.server_pid()}/fd")
        inodes = {}
        for name in os.listdir(fds):
            with contextlib.suppress(FileNotFoundError):  # it was closed since it was listed
                inodes[name] = (fds / name).stat().st_ino
        assert ours not in inodes.values()
        assert inodes["1"] == inodes["2"]
