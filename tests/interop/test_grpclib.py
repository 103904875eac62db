"""grpclib, an asyncio library, under trio-asyncio in the same Trio run as our server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio_asyncio
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from pki import shared_pki
from toy import SERVICE, Running, serving

grpclib_client = pytest.importorskip(
    "grpclib.client", reason="NOT TESTED: grpclib is not installed"
)
from grpclib.const import Cardinality  # noqa: E402 - after the check that it is there
from grpclib.exceptions import GRPCError  # noqa: E402

pytestmark = pytest.mark.interop

SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"


@asynccontextmanager
async def channel(running: Running) -> AsyncIterator[Any]:
    async with trio_asyncio.open_loop():
        made = grpclib_client.Channel("localhost", running.port, ssl=shared_pki().client_context())
        yield made
        made.close()
        # asyncio closes a TLS connection in its own time; it must be before the loop ends.
        with trio.move_on_after(5):
            while running.server.statistics().connections:  # noqa: ASYNC110 - no event
                await trio.sleep(0.01)
            await trio.sleep(0.05)


def unary(of: Any, name: str, request: type, answer: type) -> Any:
    return grpclib_client.UnaryUnaryMethod(of, f"/{SERVICE}/{name}", request, answer)


async def test_unary_empty_and_large() -> None:
    """empty_unary, large_unary, custom metadata with -bin."""
    async with serving(shared_pki()) as running, channel(running) as made:
        echo = unary(made, "Echo", BytesValue, BytesValue)
        call = trio_asyncio.aio_as_trio(echo)
        assert (await call(BytesValue())).value == b""
        large = BytesValue(value=b"x" * 2_500_000)
        assert await call(large, metadata={"key": "value", "data-bin": b"\0\xff"}) == large
        assert ("data-bin", b"\0\xff") in running.toy.contexts[-1].metadata


async def test_streams() -> None:
    """client_streaming, server_streaming, ping_pong."""

    async with serving(shared_pki()) as running, channel(running) as made:

        async def all_of_them() -> None:
            total = grpclib_client.StreamUnaryMethod(
                made, f"/{SERVICE}/Total", Int64Value, Int64Value
            )
            answer = await total([Int64Value(value=number) for number in range(100)])
            assert answer.value == 4950
            count = grpclib_client.UnaryStreamMethod(
                made, f"/{SERVICE}/Count", Int64Value, Int64Value
            )
            numbers = await count(Int64Value(value=100))
            assert [each.value for each in numbers] == list(range(100))
            both = made.request(
                f"/{SERVICE}/Both", Cardinality.STREAM_STREAM, Int64Value, Int64Value
            )
            async with both as stream:
                for number in range(20):
                    await stream.send_message(Int64Value(value=number))
                    found = await stream.recv_message()
                    assert found is not None
                    assert found.value == number
                await stream.end()
                assert await stream.recv_message() is None

        await trio_asyncio.aio_as_trio(all_of_them)()


async def test_statuses_and_deadline() -> None:
    """status_code_and_message, unimplemented_method, timeout_on_sleeping_server."""
    async with serving(shared_pki()) as running, channel(running) as made:
        fail = unary(made, "Fail", StringValue, StringValue)
        with pytest.raises(GRPCError) as caught:
            await trio_asyncio.aio_as_trio(fail)(StringValue(value="ABORTED"))
        assert (caught.value.status.name, caught.value.message) == (
            "ABORTED",
            "50% of naïve\nclients",
        )
        nothing = unary(made, "Nothing", StringValue, StringValue)
        with pytest.raises(GRPCError) as caught:
            await trio_asyncio.aio_as_trio(nothing)(StringValue())
        assert caught.value.status.name == "UNIMPLEMENTED"
        wait = unary(made, "Wait", StringValue, StringValue)
        with pytest.raises((GRPCError, TimeoutError)):
            await trio_asyncio.aio_as_trio(wait)(StringValue(), timeout=0.2)
        await running.toy.ended.wait()


async def test_special_status_message() -> None:
    """special_status_message: tabs, newlines, characters of and beyond the BMP."""
    async with serving(shared_pki()) as running, channel(running) as made:
        fail = unary(made, "Fail", StringValue, StringValue)
        with pytest.raises(GRPCError) as caught:
            await trio_asyncio.aio_as_trio(fail)(StringValue(value=f"UNKNOWN:{SPECIAL}"))
        assert (caught.value.status.name, caught.value.message) == ("UNKNOWN", SPECIAL)


async def test_unimplemented_service() -> None:
    """unimplemented_service: UNIMPLEMENTED."""
    async with serving(shared_pki()) as running, channel(running) as made:
        absent = grpclib_client.UnaryUnaryMethod(made, "/toy.Absent/Echo", StringValue, StringValue)
        with pytest.raises(GRPCError) as caught:
            await trio_asyncio.aio_as_trio(absent)(StringValue())
        assert caught.value.status.name == "UNIMPLEMENTED"


@pytest.mark.parametrize("responses", [0, 1])
async def test_cancel(responses: int) -> None:
    """cancel_after_begin, cancel_after_first_response: the handler is cancelled."""
    async with serving(shared_pki()) as running, channel(running) as made:

        async def begin_and_cancel() -> None:
            name, kind = (
                ("WaitAfterOne", Cardinality.UNARY_STREAM)
                if responses
                else ("Wait", Cardinality.UNARY_UNARY)
            )
            call = made.request(f"/{SERVICE}/{name}", kind, StringValue, StringValue)
            async with call as stream:
                await stream.send_message(StringValue(value="x"), end=True)
                if responses:
                    assert await stream.recv_message() == StringValue(value="x")
                await trio_asyncio.trio_as_aio(running.toy.started.wait)()
                await stream.cancel()

        await trio_asyncio.aio_as_trio(begin_and_cancel)()
        await running.toy.ended.wait()
        # The connection has outlived it.
        echo = unary(made, "Echo", BytesValue, BytesValue)
        assert await trio_asyncio.aio_as_trio(echo)(BytesValue()) == BytesValue()
        assert running.server.statistics().connections == 1
