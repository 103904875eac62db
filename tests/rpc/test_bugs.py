"""Bugs in what handlers raise, in what the server calls back, and in the server itself."""

from typing import Any

import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from hyperframe.frame import GoAwayFrame
from pki import shared_pki
from toy import SERVICE, Running, serving
from wire import INTERNAL, connected

from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.channel import Channel
from penstock.rpc.server_call import ServerCall
from penstock.rpc.server_connection import ServerConnection

CODE = StatusCode.NOT_FOUND


async def raised(channel: Channel) -> RpcError:
    """What the client is told of ``toy.failure``."""
    with pytest.raises(RpcError) as caught:
        await channel.unary(SERVICE, "Raise", StringValue(), StringValue)
    return caught.value


async def echo(channel: Channel) -> BytesValue:
    return await channel.unary(SERVICE, "Echo", BytesValue(value=b"x"), BytesValue)


@pytest.mark.parametrize(
    ("message", "told"),
    [("no file caf\udce9", "no file caf?"), (None, ""), (b"x\xff", "x\ufffd"), (7, "7")],
)
async def test_any_message_of_an_error_is_sent(message: Any, told: str) -> None:
    """As well as it can be; the connection lives."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        running.toy.failure = RpcError(CODE, message)
        error = await raised(channel)
        assert (error.code, error.message) == (CODE, told)
        await echo(channel)


class _BadCode(RpcError):
    def __init__(self) -> None:
        super().__init__(CODE, "x")
        self.code = 5  # type: ignore[assignment]


class _NoDetails(RpcError):
    def __init__(self) -> None:
        super().__init__(CODE, "x")
        self.details = ("no message",)  # type: ignore[assignment]


@pytest.mark.parametrize("failure", [_BadCode(), _NoDetails()])
async def test_an_error_that_cannot_be_sent_is_a_bug(failure: RpcError) -> None:
    """INTERNAL with an id, and reported; the connection lives."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        running.toy.failure = failure
        error = await raised(channel)
        assert error.code is StatusCode.INTERNAL
        ((error_id, reported),) = running.errors
        assert error.message == f"internal error {error_id}"
        assert isinstance(reported, AttributeError | TypeError)
        await echo(channel)


def broken_report(error_id: str, error: BaseException) -> None:
    raise OSError(28, "the disk is full")


@pytest.mark.parametrize("where", ["identify", "client_of"])
async def test_bugs_in_callbacks_are_told_and_end_nothing_else(where: str) -> None:
    """INTERNAL for that client's calls, though the report fails too; others are served."""

    asked = 0

    def broken(_: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise ValueError("a bug")
        return asked

    options: dict[str, Any] = {"identify": broken}
    if where == "client_of":
        options = {"identify": lambda peer: peer, "client_of": broken}
    async with (
        serving(shared_pki(), on_internal_error=broken_report, **options) as running,
        running.channel("bob") as other,
    ):
        await echo(other)
        async with running.channel() as channel:
            with pytest.raises(RpcError, match="internal error") as caught:
                await echo(channel)
        assert caught.value.code is StatusCode.INTERNAL
        await echo(other)


async def test_a_bug_in_an_event_ends_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """With GOAWAY INTERNAL_ERROR; its calls are cancelled, others are served."""
    async with serving(shared_pki()) as running, running.channel("bob") as other:
        await echo(other)
        async with connected(running) as wire:
            await wire.send(wire.call(1, "/toy.Toy/Wait"))
            await running.toy.started.wait()

            def broken(self: ServerConnection, event: Any) -> None:
                raise ValueError("a bug")

            with monkeypatch.context() as patch:
                patch.setattr(ServerConnection, "_headers_arrived", broken)
                await wire.send(wire.call(3))
                await wire.goaway(INTERNAL)
            await running.toy.ended.wait()
        await echo(other)
        assert running.server.statistics().ended == {"bug": 1}


async def test_a_bug_in_a_calls_task_ends_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is; the server goes on, and nothing of the connection is left."""
    async with serving(shared_pki()) as running, running.channel("bob") as other:
        await echo(other)
        async with connected(running) as wire:

            async def broken(self: ServerCall) -> None:
                raise ValueError("a bug")

            with monkeypatch.context() as patch:
                patch.setattr(ServerCall, "run", broken)
                await wire.send(wire.call(1))
                while await wire.next() is not None:
                    pass
            assert not [each for each in wire.seen if isinstance(each, GoAwayFrame)]
        await echo(other)
        await _one_left(running)
        assert running.server.statistics().ended == {"bug": 1}


async def _one_left(running: Running) -> None:
    while running.server.statistics().connections > 1:  # noqa: ASYNC110 - nothing tells of it
        await trio.lowlevel.checkpoint()
