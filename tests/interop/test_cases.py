"""gRPC's interoperability cases, as far as they apply, by clients of other makes.

Left out: cases of compression, which the server does not have, of authentication by tokens,
and of metadata in answers, which handlers cannot set.
"""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import trio
import trio.testing
from foreign import run_foreign
from pki import shared_pki
from toy import Running, serving

pytestmark = pytest.mark.interop

Client: TypeAlias = Callable[[Running, str], Awaitable[None]]
HERE = Path(__file__).parent
PYTHON = {"grpcio-asyncio": "grpcio_client.py", "grpcio-sync": "grpcio_sync_client.py"}


@pytest.fixture(params=["grpcio-asyncio", "grpcio-sync", "grpc-js", "grpc-go"])
def client(request: pytest.FixtureRequest) -> Client:
    """Does one case and, to see that the connection lasts, an empty_unary after it."""
    environment: dict[str, str] = {}
    if request.param == "grpc-js":
        program = ["node", str(HERE / "grpc_js_client.cjs")]
        environment["NODE_PATH"] = str(request.getfixturevalue("npm"))
    elif request.param == "grpc-go":
        program = [str(request.getfixturevalue("grpc_go"))]
    else:
        program = [sys.executable, str(HERE / PYTHON[request.param])]

    async def run(running: Running, case: str) -> None:
        arguments = [str(running.port), str(running.pki.directory), case]
        await run_foreign([*program, *arguments], **environment)

    return run


async def passes(client: Client, case: str) -> Running:
    """The client saw what it should; the server one connection, closed, and nothing left."""
    async with serving(shared_pki()) as running:
        await client(running, case)
        await trio.testing.wait_all_tasks_blocked()
        statistics = running.server.statistics()
        assert (statistics.running_calls, running.toy.running) == (0, 0)
        # By the client; lost where it has not read an answer to its last PING, as grpc-go may.
        assert statistics.ended in ({"closed": 1}, {"lost": 1})
        assert running.errors == []
    return running


async def test_empty_unary(client: Client) -> None:
    """empty_unary: a message of no bytes both ways."""
    await passes(client, "empty_unary")


async def test_large_unary(client: Client) -> None:
    """large_unary: 2.5 MB both ways, more than any window."""
    await passes(client, "large_unary")


async def test_client_streaming(client: Client) -> None:
    """client_streaming: 500 messages, one answer."""
    await passes(client, "client_streaming")


async def test_server_streaming(client: Client) -> None:
    """server_streaming: one request, 2000 messages in order."""
    await passes(client, "server_streaming")


async def test_ping_pong(client: Client) -> None:
    """ping_pong: each message is sent when the last one's answer is there."""
    await passes(client, "ping_pong")


async def test_cancel_after_begin(client: Client) -> None:
    """cancel_after_begin: a stream is left before its first message."""
    await passes(client, "cancel_after_begin")


async def test_cancel_after_first_response(client: Client) -> None:
    """cancel_after_first_response: both directions are open when the client leaves."""
    await passes(client, "cancel_after_first_response")


async def test_timeout_on_sleeping_server(client: Client) -> None:
    """timeout_on_sleeping_server: DEADLINE_EXCEEDED, and the handler is cancelled."""
    running = await passes(client, "timeout_on_sleeping_server")
    assert running.toy.ended.is_set()


async def test_status_code_and_message(client: Client) -> None:
    """status_code_and_message: with and without a message before; details too."""
    await passes(client, "status_code_and_message")


async def test_special_status_message(client: Client) -> None:
    """special_status_message: tabs, newlines, characters of and beyond the BMP."""
    await passes(client, "special_status_message")


async def test_unimplemented_method(client: Client) -> None:
    """unimplemented_method: UNIMPLEMENTED."""
    await passes(client, "unimplemented_method")


async def test_unimplemented_service(client: Client) -> None:
    """unimplemented_service: UNIMPLEMENTED."""
    await passes(client, "unimplemented_service")


async def test_too_much_metadata(client: Client) -> None:
    """20 KB of it: a status that is not tried again, and a stream beside it goes on."""
    await passes(client, "too_much_metadata")


async def test_custom_metadata(client: Client) -> None:
    """custom_metadata: text and -bin reach the handler as they were."""
    running = await passes(client, "custom_metadata")
    metadata = dict(running.toy.contexts[0].metadata)
    assert metadata["x-grpc-test-echo-initial"] == "test_initial_metadata_value"
    assert metadata["x-grpc-test-echo-trailing-bin"] == b"\xab\xab\xab"
