"""One of the servers that tools/bench/rpc measures: ``_server.py KIND DIRECTORY``.

Writes its port to standard output and ends with standard input.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc.aio
import purerpc
import trio
from google.protobuf.wrappers_pb2 import BytesValue

from penstock.rpc.grpc_server import Server
from penstock.rpc.tls.contexts import server_ssl_context


def service() -> purerpc.Service:
    async def echo(message: BytesValue) -> BytesValue:
        return message

    made = purerpc.Service("toy.Toy")
    signature = purerpc.RPCSignature(purerpc.Cardinality.UNARY_UNARY, BytesValue, BytesValue)
    made.add_method("Echo", echo, signature)
    return made


def context(directory: Path) -> Any:
    return server_ssl_context(
        directory / "server.crt", directory / "server.key", directory / "ca.crt"
    )


async def penstock(directory: Path) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(Server([service()], context(directory)).serve, [listener])
        print(listener.socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


async def stock(directory: Path) -> None:
    """purerpc's own server, as it comes, on the event loop that it is fastest on here: Trio."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = purerpc.Server(port, ssl_context=context(directory))
    server.add_service(service())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_async)
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.05)
                continue
            await stream.aclose()
            break
        print(port, flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        nursery.cancel_scope.cancel()


async def grpc_aio(directory: Path) -> None:
    async def echo(request: BytesValue, _: Any) -> BytesValue:
        return request

    handler = grpc.unary_unary_rpc_method_handler(
        echo,
        request_deserializer=BytesValue.FromString,
        response_serializer=BytesValue.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("toy.Toy", {"Echo": handler}),)
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


def main() -> None:
    kind, directory = sys.argv[1], Path(sys.argv[2])
    if kind == "grpc.aio":
        asyncio.run(grpc_aio(directory))
    else:
        trio.run(penstock if kind == "penstock" else stock, directory)


if __name__ == "__main__":
    main()
