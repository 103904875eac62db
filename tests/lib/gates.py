"""Jobs that print what a test tells them to, when it tells them."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

import trio
from patience import patient
from running import RunningServer

from penstock.client import Client
from penstock.proto import command_pb2 as pb

# The path below which fifos are made, one directory for each job.
DIRECTORY = "gates"
ARGUMENTS = 'arguments = [{ pattern = "[a-z0-9]{1,30}" }]\n'
RELAY = f"cat @dir/{DIRECTORY}/$0.2 >&2 & cat @dir/{DIRECTORY}/$0.1; wait"
"""A shell script: stdout and stderr, each from a fifo of its own."""


class Gate:
    """The other end of a job's stdout and stderr; a context manager, which closes both."""

    def __init__(self, server: RunningServer, name: str) -> None:
        self.name = name
        self._paths = [server.directory / DIRECTORY / f"{name}.{number}" for number in (1, 2)]
        self._fds: dict[int, int] = {}
        self._paths[0].parent.mkdir(exist_ok=True)
        for path in self._paths:
            os.mkfifo(path)
            path.chmod(0o666)

    async def open(self) -> None:
        """Waits until the job has opened its ends."""
        for number, path in enumerate(self._paths, 1):
            self._fds[number] = await trio.to_thread.run_sync(_open, path)

    async def write(self, data: bytes, stream: int = 1) -> None:
        """Waits as long as the job does not take it. Cancelled: it may be written in part."""
        await trio.lowlevel.checkpoint()
        fd = self._fds[stream]
        os.set_blocking(fd, False)
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(fd)

    def close(self) -> None:
        """The job's output ends, and so does the job. Again is fine."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CLOEXEC)


async def started(
    server: RunningServer, client: Client, command: str, name: str
) -> tuple[pb.Job, Gate]:
    """A running job of a command with RELAY and ARGUMENTS, and its gate."""
    gate = Gate(server, name)
    job = await client.start(command, [name])
    with trio.fail_after(patient(10)):
        await gate.open()
    return job, gate
