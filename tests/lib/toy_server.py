"""The toy service in a process of its own: ``python toy_server.py DIRECTORY LIMITS-AS-JSON``.

Writes its port to standard output and ends with standard input. toy.Debug/Statistics
answers with what it holds, after a collection of garbage.
"""

import dataclasses
import gc
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import purerpc
import trio
from google.protobuf.wrappers_pb2 import StringValue
from toy import Toy, changed

from penstock.rpc.grpc_server import Server
from penstock.rpc.tls.contexts import server_ssl_context


def resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def main(directory: Path, limits: dict[str, Any]) -> None:
    toy = Toy()
    context = server_ssl_context(
        directory / "server.crt", directory / "server.key", directory / "ca.crt"
    )
    debug = purerpc.Service("toy.Debug")
    server: Server

    async def statistics(message: StringValue, request: Any) -> StringValue:
        gc.collect()
        found = server.statistics()
        return StringValue(
            value=json.dumps(
                {
                    "pid": os.getpid(),
                    "connections": found.connections,
                    "handshakes": found.handshakes,
                    "running_calls": found.running_calls,
                    "handlers": toy.running,
                    "most_handlers": toy.most_running,
                    "worst_lag_s": found.lag.worst_s,
                    "lag": dataclasses.asdict(found.lag),
                    "refused": found.refused,
                    "ended": found.ended,
                    "tasks": trio.lowlevel.current_statistics().tasks_living,
                    "descriptors": len(os.listdir("/proc/self/fd")),
                    "resident_kib": resident_kib(),
                }
            )
        )

    signature = purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, StringValue, StringValue)
    debug.add_method("Statistics", statistics, signature)
    server = Server([toy.service, debug], context, limits=changed(**limits))
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, [listener])
        print(listener.socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    gc.freeze()  # as penstock.server does
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # as penstockd does
    trio.run(main, Path(sys.argv[1]), json.loads(sys.argv[2]))
