"""The server killed under its supervisor, which starts the next one."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from running import RunningServer

from penstock.client import Client, connect
from penstock.rpc.call_errors import ConnectionLost


async def kill_server(server: RunningServer) -> None:
    """Returns when it is gone."""
    pid = server.server_pid()
    fd = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


@asynccontextmanager
async def connected_again(server: RunningServer, name: str) -> AsyncIterator[Client]:
    """A connection to the next server: until it listens there is nothing to wait for."""
    while True:
        try:
            async with connect(server.endpoint(name)) as client:
                await client.server_info()
                break
        except ConnectionLost:
            await trio.sleep(0.05)
    async with connect(server.endpoint(name)) as client:
        yield client
