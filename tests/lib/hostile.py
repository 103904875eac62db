"""A toy server and attackers of it, each in a process of its own, and a client beside them."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue
from pki import Pki

from penstock.rpc.channel import Channel, open_channel

LIB = Path(__file__).parent


@contextmanager
def helper(script: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A script of tests/lib, which ends when its standard input does."""
    process = subprocess.Popen(
        [sys.executable, str(LIB / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={
            "PYTHONPATH": os.pathsep.join((str(LIB), os.environ.get("PYTHONPATH", ""))),
            "PATH": "/usr/bin:/bin",
        },
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


async def statistics(channel: Channel) -> dict[str, Any]:
    answer = await channel.unary("toy.Debug", "Statistics", StringValue(), StringValue)
    found: dict[str, Any] = json.loads(answer.value)
    return found


@asynccontextmanager
async def served(pki: Pki, **limits: Any) -> AsyncIterator[tuple[int, Channel]]:
    """A server in a process of its own, and a client of it."""
    with helper("toy_server.py", str(pki.directory), json.dumps(limits)) as server:
        port = int(first_line(server))
        context = pki.client_context("bob")
        async with open_channel("127.0.0.1", port, context, server_hostname="localhost") as channel:
            yield port, channel
