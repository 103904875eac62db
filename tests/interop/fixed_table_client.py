"""A grpcio asyncio client of generated code; argument 1 is where that code lies.

Run as a program by test_fixed_table.py: grpcio has threads and a loop of its own. It does
all four RPCs and prints what it saw as JSON.
"""

import asyncio
import json
import os
import sys

import grpc


async def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from teleport import command_pb2 as pb  # type: ignore[import-not-found]
    from teleport import command_pb2_grpc as rpc

    def read(name: str) -> bytes:
        with open(os.environ[name], "rb") as file:
            return file.read()

    credentials = grpc.ssl_channel_credentials(
        read("PENSTOCK_CA"), read("PENSTOCK_KEY"), read("PENSTOCK_CERT")
    )
    saw: dict[str, object] = {}
    async with grpc.aio.secure_channel(os.environ["PENSTOCK_ADDR"], credentials) as channel:
        stub = rpc.CommandServiceStub(channel)
        argument = pb.Argument(name="-n", value="2")
        started = await stub.Start(
            pb.StartRequest(command="lines", arguments=[argument]), timeout=10
        )
        saw["pid"] = started.pid
        outputs = [
            m.output async for m in stub.StreamOutput(pb.StreamOutputRequest(pid=started.pid))
        ]
        saw["first"], saw["output"] = outputs[0], "".join(outputs)
        saw["finished"] = (await stub.Status(pb.StatusRequest(pid=started.pid))).status
        idle = await stub.Start(pb.StartRequest(command="idle"))
        saw["running"] = (await stub.Status(pb.StatusRequest(pid=idle.pid))).status
        stopped = await stub.Stop(pb.StopRequest(pid=idle.pid))
        saw["idle"], saw["stopped"], saw["error"] = idle.pid, stopped.result, stopped.error
        try:
            await stub.Status(pb.StatusRequest(pid="1"))
        except grpc.aio.AioRpcError as error:
            saw["unknown"] = [error.code().name, error.details()]
    print(json.dumps(saw))


asyncio.run(main())
