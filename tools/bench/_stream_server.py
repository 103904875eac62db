"""One of the servers that tools/bench/stream measures: ``_stream_server.py KIND DIRECTORY``.

*penstock* is the service over the job library and its supervisor, in one process as penstockd
has it; *naive* is what one would write first: a grpc.aio server that reads a job's output into
a list and lets every reader walk through it. Both start the same programs. *tls* sends zeros
over plain TLS: nothing can be faster.

Writes its port to standard output and ends with standard input.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import trio

from penstock.jobs.standalone import open_local
from penstock.policy.configuration import parse_config
from penstock.policy.policy_file import parse_policy
from penstock.proto import command_pb2 as pb
from penstock.rpc.grpc_server import Peer, Server
from penstock.rpc.limits import SERVER_DEFAULTS
from penstock.server.audit import AuditLog
from penstock.server.authn import identify
from penstock.server.credentials import load_credentials
from penstock.server.generation import Generation, InForce
from penstock.server.methods import MESSAGE_LIMITS
from penstock.server.service import CommandService
from penstock.server.service_info import HostInfo

_CHUNK = 64 * 1024
_TICKS = """
import sys, time
for _ in range(int(sys.argv[1])):
    time.sleep(0.02)
    sys.stdout.write(f"t={time.monotonic_ns()};\\\\n")
    sys.stdout.flush()
"""
COMMANDS = {
    "zeros": ["/usr/bin/head", "-c"],
    "ticks": [os.path.realpath("/usr/bin/python3"), "-I", "-S", "-c", _TICKS],
    "idle": ["/usr/bin/sleep"],
}


def policy_text() -> str:
    lines = ["[classes.free]", 'needs = { all = "best_effort" }', "[output]", 'job = "unlimited"']
    lines += ['client = "unlimited"', 'server = "unlimited"']
    for name, (path, *fixed) in COMMANDS.items():
        lines += [f"[commands.{name}]", f'path = "{path}"', 'class = "free"']
        lines += ['user = "65534"'] if os.geteuid() == 0 else []
        texts = ", ".join("'''" + text + "'''" for text in fixed)
        lines += [f"fixed = [{texts}]"]
        lines += ["arguments = [{ int = { min = 1, max = 99999999999 } }"]
        lines[-1] += ', { literal = "/dev/zero" }]' if name == "zeros" else "]"
    lines += ["[clients.alice]", f"commands = {list(COMMANDS)}", "max_streams = 5000"]
    lines += ["max_running = 100", "starts_per_minute = 10000"]
    return "\n".join(lines) + "\n"


def configuration_text(directory: Path) -> str:
    files = {"certificate": "server.crt", "key": "server.key", "client_ca": "ca.crt"}
    lines = [f'{name} = "{directory / file}"' for name, file in files.items()]
    return "\n".join([f'policy = "{directory / "policy.toml"}"', "[tls]", *lines]) + "\n"


async def penstock(directory: Path) -> None:
    policy = directory / "policy.toml"
    policy.write_text(policy_text())
    audit = AuditLog(str(directory / "audit"))
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    config = parse_config(configuration_text(directory).encode(), library=True)
    credentials = load_credentials(config)
    limits = SERVER_DEFAULTS._replace(streams_per_client=5000)

    def identity(peer: Peer) -> Any:
        return identify(peer.certificate, legacy_certificates=False)

    async with open_local(policy, directory / "state") as manager:
        host = HostInfo("user", "bench", (), ())
        parsed = parse_policy(policy.read_bytes())
        in_force = InForce(Generation(config, parsed, credentials, parsed.hash))
        service = CommandService(manager, in_force, audit, host, trio.current_time)
        server = Server(
            [service.service],
            credentials.context,
            limits=limits,
            identify=identity,
            admit=service.admit,
            message_limits=MESSAGE_LIMITS,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, [listener])
            print(listener.socket.getsockname()[1], flush=True)
            await trio.to_thread.run_sync(sys.stdin.read)
            nursery.cancel_scope.cancel()


class NaiveJob:
    """Output in a list, readers behind a condition."""

    def __init__(self) -> None:
        self.chunks: list[tuple[int, bytes]] = []
        self.ended = False
        self.changed = asyncio.Condition()

    async def run(self, words: list[str]) -> None:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, limit=2**20
        )
        assert process.stdout is not None
        offset = 0
        while data := await process.stdout.read(_CHUNK):
            async with self.changed:
                self.chunks.append((offset, data))
                self.changed.notify_all()
            offset += len(data)
        await process.wait()
        async with self.changed:
            self.ended = True
            self.changed.notify_all()


class NaiveService:
    """Start and StreamOutput alone."""

    def __init__(self) -> None:
        self._jobs: dict[str, NaiveJob] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, request: pb.StartRequest, _: Any) -> pb.StartResponse:
        job = NaiveJob()
        handle = str(len(self._jobs) + 1)
        self._jobs[handle] = job
        task = asyncio.create_task(job.run([*COMMANDS[request.command], *request.argv]))
        self._tasks.add(task)
        return pb.StartResponse(pid=handle, job=pb.Job(handle=handle))

    async def stream(
        self, request: pb.StreamOutputRequest, _: Any
    ) -> AsyncIterator[pb.StreamOutputResponse]:
        job = self._jobs[request.pid]
        position = 0
        while True:
            while position < len(job.chunks):
                offset, data = job.chunks[position]
                position += 1
                yield pb.StreamOutputResponse(
                    data=data, stream=pb.STREAM_STDOUT, offset=offset, time_ns=time.time_ns()
                )
            if job.ended:
                yield pb.StreamOutputResponse(finished=pb.EndRecord(reason="exited"))
                return
            async with job.changed:
                if position == len(job.chunks) and not job.ended:
                    await job.changed.wait()


async def naive(directory: Path) -> None:
    service = NaiveService()
    methods = {
        "Start": grpc.unary_unary_rpc_method_handler(
            service.start,
            request_deserializer=pb.StartRequest.FromString,
            response_serializer=pb.StartResponse.SerializeToString,
        ),
        "StreamOutput": grpc.unary_stream_rpc_method_handler(
            service.stream,
            request_deserializer=pb.StreamOutputRequest.FromString,
            response_serializer=pb.StreamOutputResponse.SerializeToString,
        ),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("teleport.CommandService", methods),)
    )
    credentials = grpc.ssl_server_credentials(
        [((directory / "server.key").read_bytes(), (directory / "server.crt").read_bytes())],
        root_certificates=(directory / "ca.crt").read_bytes(),
        require_client_auth=True,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


def tls(directory: Path) -> None:
    """Who connects and says how many bytes gets them."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "ca.crt"))
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def serve(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as sock:
            left = int(sock.recv(100))
            block = bytes(_CHUNK)
            while left > 0:
                sock.sendall(block)
                left -= len(block)

    def accept() -> None:
        while True:
            plain, _ = listener.accept()
            threading.Thread(target=serve, args=[plain], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


def main() -> None:
    kind, directory = sys.argv[1], Path(sys.argv[2])
    if kind == "penstock":
        trio.run(penstock, directory)
    elif kind == "naive":
        asyncio.run(naive(directory))
    else:
        tls(directory)


if __name__ == "__main__":
    main()
