"""Clients that send the worst messages, in a process of their own, against a real penstockd.

``python message_attackers.py DIRECTORY PORT KIND WHO COUNT``: COUNT connections as WHO, each with
as many calls at once as the server admits, again and again, until standard input ends. Says
``ready`` when one call of each connection was answered.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, RpcError
from penstock.rpc.channel import Channel, open_channel
from penstock.rpc.tls.contexts import client_ssl_context

SERVICE: Final = "teleport.CommandService"
HEALTH: Final = "grpc.health.v1.Health"
KIB: Final = 1024
_AT_ONCE: Final = 100


@dataclass(frozen=True)
class Raw:
    """Bytes in place of a message."""

    data: bytes

    def SerializeToString(self) -> bytes:  # noqa: N802  # as protobuf's
        return self.data


def _start(**fields: object) -> bytes:
    return pb.StartRequest(command="echo", **fields).SerializeToString()  # type: ignore[arg-type]


_ENV: Final = {f"K{number}": "v" * 8 for number in range(1024)}

# Each is as bad as may be of its kind, or one too many.
KINDS: Final[dict[str, tuple[str, str, bytes]]] = {
    "arguments": (SERVICE, "Start", _start(arguments=[pb.Argument(value="v")] * 8192, env=_ENV)),
    "argv": (SERVICE, "Start", _start(argv=["v"] * 8192, validate_only=True)),
    "empty_arguments": (SERVICE, "Start", b"\x12\x00" * 131_000),
    "names_in_an_argument": (SERVICE, "Start", b"\x12\x80\x80\x08" + b"\x0a\x00" * 65_536),
    "empty_env": (SERVICE, "Start", b"\x2a\x00" * 131_000),
    "unknown_fields": (SERVICE, "Start", b"\xfa\x01\x00" * 87_000),
    "padded_lengths": (SERVICE, "Start", b"\x1a\x80\x80\x80\x80\x00" * 8192),
    "long_argument": (SERVICE, "Start", _start(argv=["x" * 130_000])),
    "granted": (SERVICE, "Start", _start(argv=["x" * 256] * 500, validate_only=True)),
    "granted_but_for_json": (
        *(SERVICE, "Start"),
        _start(argv=["\x01" * 256] * 500, validate_only=True),
    ),
    "four_mib": (SERVICE, "Start", b"\x12\x00" * 2_097_000),
    "input_fields": (SERVICE, "SendInput", b"\x0a\x01x" * 27_000),
    "input": (SERVICE, "SendInput", b"\x0a\x011\x1a\xe8\xfb\x03" + bytes(65_000)),
    "list": (SERVICE, "List", b"\x1a\x00" * 8_000),
    "streams": (SERVICE, "StreamOutput", b"\x0a\x011" + b"\x42\xf0\x1f" + b"\x01" * 4_080),
    "status": (SERVICE, "Status", b"\x0a\x00" * 2_000),
    "status_of_nothing": (SERVICE, "Status", b"\x0a\xf0\x1f" + b"9" * 4_080),
    "info": (SERVICE, "ServerInfo", b"\x0a\x00" * 2_000),
    "who": (SERVICE, "WhoAmI", b"\x10\x00" * 2_000),
    "health": (HEALTH, "Check", b"\x0a\x00" * 2_000),
}  # fmt: skip


async def _once(channel: Channel, kind: str) -> None:
    service, method, data = KINDS[kind]
    try:
        if method in ("StreamOutput", "SendInput"):
            async with channel.open_call(service, method, pb.StatusResponse) as call:
                await call.send(Raw(data))  # type: ignore[arg-type]
                call.end()
                async for _ in call:
                    pass
        else:
            await channel.unary(service, method, Raw(data), pb.StatusResponse)  # type: ignore[arg-type]
    except ConnectionLost:
        raise
    except RpcError:
        pass


async def _connection(
    directory: Path, port: int, kind: str, who: str, task_status: trio.TaskStatus[None]
) -> None:
    certificate, key = directory / f"{who}.crt", directory / f"{who}.key"
    context = client_ssl_context(certificate, key, directory / "ca.crt")

    async def again_and_again(channel: Channel) -> None:
        while True:
            await _once(channel, kind)

    answered = False
    while True:
        try:
            async with open_channel(
                "127.0.0.1", port, context, server_hostname="localhost"
            ) as channel:
                await _once(channel, kind)
                if not answered:
                    answered = True
                    task_status.started()
                async with trio.open_nursery() as nursery:
                    for _ in range(_AT_ONCE):
                        nursery.start_soon(again_and_again, channel)
        except* (ConnectionLost, OSError):
            pass
        await trio.sleep(0.25)  # thrown out: it comes back, but its machine must breathe, too


async def main(directory: Path, port: int, kind: str, who: str, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            await nursery.start(_connection, directory, port, kind, who)
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


@contextlib.contextmanager
def attacked(directory: Path, port: int, kind: str, who: str, count: int) -> Iterator[None]:
    """They are at it from the beginning of the block to its end."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(directory), str(port), kind, who, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "PATH": "/usr/bin:/bin"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


if __name__ == "__main__":
    directory, port, kind, who, count = sys.argv[1:]
    trio.run(main, Path(directory), int(port), kind, who, int(count))
