"""The four kinds of call, and every way in which one fails without hurting another."""

import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from google.rpc.error_details_pb2 import ErrorInfo
from pki import shared_pki
from purerpc.grpclib.exceptions import AbortedError
from toy import SERVICE, serving

from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.channel import Channel
from penstock.rpc.grpc_server import Peer


async def echo(channel: Channel, data: bytes = b"x") -> bytes:
    answer = await channel.unary(SERVICE, "Echo", BytesValue(value=data), BytesValue)
    return answer.value


async def failure(channel: Channel, method: str, text: str = "") -> RpcError:
    with pytest.raises(RpcError) as caught:
        await channel.unary(SERVICE, method, StringValue(value=text), StringValue)
    return caught.value


async def test_unary() -> None:
    """A message comes back as it was, empty and several frames long ones too."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        for data in (b"", b"\0\xff", b"x" * 3_000_000):
            assert await echo(channel, data) == data


async def test_server_stream() -> None:
    """All messages, in order, then the end."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        request = Int64Value(value=1000)
        async with channel.server_stream(SERVICE, "Count", request, Int64Value) as call:
            assert [message.value async for message in call] == list(range(1000))


async def test_empty_server_stream() -> None:
    """A stream may have no message at all."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        async with channel.server_stream(SERVICE, "Count", Int64Value(), Int64Value) as call:
            assert [message async for message in call] == []


async def test_client_stream() -> None:
    """The handler gets every message and then the end."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        async with channel.open_call(SERVICE, "Total", Int64Value) as call:
            for number in range(100):
                assert await call.send(Int64Value(value=number))
            call.end()
            assert (await call.only_response()).value == 4950


async def test_both_stream() -> None:
    """Ping-pong: each answer arrives before the next request is sent."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        async with channel.open_call(SERVICE, "Both", Int64Value) as call:
            for number in range(20):
                await call.send(Int64Value(value=number))
                assert (await anext(call)).value == number
            call.end()
            assert [message async for message in call] == []


async def test_hundred_calls_at_once() -> None:
    """One connection carries a hundred handlers; more wait for their turn in the client."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        done = 0

        async def one() -> None:
            nonlocal done
            await channel.unary(SERVICE, "Wait", StringValue(), StringValue)
            done += 1

        async with trio.open_nursery() as nursery:
            for _ in range(130):
                nursery.start_soon(one)
            while running.toy.running < 100:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert running.server.statistics().running_calls == 100
            running.toy.release.set()
        assert done == 130
        assert running.toy.most_running == 100


async def test_context() -> None:
    """Handlers see certificate, identity, deadline and metadata, binary metadata as bytes."""

    def identify(peer: Peer) -> str:
        assert peer.certificate.startswith(b"\x30")
        return "somebody"

    async with serving(shared_pki(), identify=identify) as running, running.channel() as channel:
        await channel.unary(
            SERVICE,
            "Echo",
            BytesValue(),
            BytesValue,
            timeout_s=5.0,
            metadata=(("key", "value"), ("raw-bin", b"\0\xff\x10")),
        )
        (context,) = running.toy.contexts
        assert context.identity == "somebody"
        assert context.peer.address.startswith("127.0.0.1:")
        assert ("key", "value") in context.metadata
        assert ("raw-bin", b"\0\xff\x10") in context.metadata
        assert 3.0 < context.deadline - trio.current_time() <= 5.0


@pytest.mark.parametrize("name", [code.name for code in StatusCode if code.value])
async def test_status(name: str) -> None:
    """Every status crosses with its text, whatever is in it, and its details."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        error = await failure(channel, "Fail", name)
        assert error.code is StatusCode[name]
        assert error.message == "50% of naïve\nclients"
        (detail,) = error.details
        assert isinstance(detail, ErrorInfo)
        assert (detail.reason, dict(detail.metadata)) == ("TOY", {"key": "value"})
        assert running.errors == []


async def test_status_after_messages() -> None:
    """Messages that were sent before a failure are delivered before it."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        request = StringValue(value="DATA_LOSS")
        async with channel.server_stream(SERVICE, "FailLate", request, StringValue) as call:
            assert (await anext(call)).value == "DATA_LOSS"
            with pytest.raises(RpcError, match="after a message") as caught:
                await anext(call)
        assert caught.value.code is StatusCode.DATA_LOSS


async def test_handler_bug() -> None:
    """INTERNAL with an id that only the server can resolve; the connection lives."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        error = await failure(channel, "Bug")
        assert error.code is StatusCode.INTERNAL
        ((error_id, cause),) = running.errors
        assert error.message == f"internal error {error_id}"
        assert isinstance(cause, ValueError)
        assert await echo(channel) == b"x"


async def test_unknown_method_and_service() -> None:
    async with serving(shared_pki()) as running, running.channel() as channel:
        assert (await failure(channel, "Nothing")).code is StatusCode.UNIMPLEMENTED
        with pytest.raises(RpcError) as caught:
            await channel.unary("no.Service", "Echo", BytesValue(), BytesValue)
        assert caught.value.code is StatusCode.UNIMPLEMENTED
        assert await echo(channel) == b"x"


async def test_refused_identity() -> None:
    """What ``identify`` raises answers every call, before the method is looked at."""

    def identify(peer: Peer) -> str:
        raise RpcError(StatusCode.UNAUTHENTICATED, "nobody")

    async with serving(shared_pki(), identify=identify) as running, running.channel() as channel:
        for method in ("Echo", "Nothing"):
            assert (await failure(channel, method)).code is StatusCode.UNAUTHENTICATED
        assert running.toy.contexts == []


async def test_message_too_large() -> None:
    """4 MiB and no more; the call alone fails."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        with pytest.raises(RpcError, match="larger than") as caught:
            await echo(channel, b"x" * (4 * 1024 * 1024 + 1))
        assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED
        largest = b"x" * (4 * 1024 * 1024 - 5)  # the wrapper message takes 5 bytes
        assert await echo(channel, largest) == largest


async def test_response_too_large() -> None:
    """The client has the same bound."""
    async with serving(shared_pki(), message_bytes=8_000_000) as running:
        async with running.channel() as channel:
            with pytest.raises(RpcError, match="larger than") as caught:
                await echo(channel, b"x" * 5_000_000)
            assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED
            assert await echo(channel) == b"x"


async def test_budget_of_unfinished_messages() -> None:
    """All calls of a connection share one bound for what their handlers have not read."""
    async with serving(shared_pki(), unfinished_bytes=100_000) as running:
        async with running.channel() as channel:
            with pytest.raises(RpcError, match="unfinished") as caught:
                await echo(channel, b"x" * 200_000)
            assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED
            for _ in range(5):  # what it held has been given back
                assert len(await echo(channel, b"x" * 90_000)) == 90_000


async def test_calls_not_accepted() -> None:
    async with serving(shared_pki()) as running, running.channel() as channel:
        running.server.accept_calls(False)
        assert (await failure(channel, "Wait")).code is StatusCode.UNAVAILABLE
        running.server.accept_calls(True)
        assert await echo(channel) == b"x"


async def test_wrong_response_type() -> None:
    """A response that does not parse fails that call."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        with pytest.raises(RpcError) as caught:
            await channel.unary(SERVICE, "Echo", BytesValue(value=b"\xff\xff"), StringValue)
        assert caught.value.code is StatusCode.INTERNAL
        assert await echo(channel) == b"x"


async def test_fast_sender_lets_others_run() -> None:
    """A handler that never waits does not keep a call on another connection from its answer."""
    async with serving(shared_pki()) as running, trio.open_nursery() as nursery:

        async def read_all(who: str) -> None:
            async with running.channel(who) as channel:
                request = Int64Value()
                async with channel.server_stream(SERVICE, "Flood", request, BytesValue) as call:
                    async for _ in call:
                        pass

        for _ in range(3):
            nursery.start_soon(read_all, "bob")
        await running.toy.started.wait()
        async with running.channel() as channel:
            begin = trio.current_time()
            await echo(channel)
            assert trio.current_time() - begin < 1.0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("count", "text"), [(0, "no response"), (2, "a second response")])
async def test_one_response_is_neither_none_nor_two(count: int, text: str) -> None:
    """INTERNAL: a server that breaks the contract of the method; the connection goes on."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        request = Int64Value(value=count)
        async with channel.server_stream(SERVICE, "Count", request, Int64Value) as call:
            with pytest.raises(RpcError, match=text) as caught:
                await call.only_response()
        assert caught.value.code is StatusCode.INTERNAL
        assert await echo(channel) == b"x"


@pytest.mark.parametrize(
    ("count", "code", "text"),
    [
        (0, StatusCode.INVALID_ARGUMENT, "no message"),
        (2, StatusCode.INVALID_ARGUMENT, "second message"),
    ],
)
async def test_one_request_is_neither_none_nor_two(count: int, code: StatusCode, text: str) -> None:
    """The handler is not called with half of what was sent."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        async with channel.open_call(SERVICE, "Echo", BytesValue) as call:
            for _ in range(count):
                await call.send(BytesValue(value=b"x"))
            call.end()
            with pytest.raises(RpcError, match=text) as caught:
                await call.only_response()
        assert caught.value.code is code
        assert running.toy.contexts == []


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (NotImplementedError("later"), StatusCode.UNIMPLEMENTED, "the method is not implemented"),
        (
            ExceptionGroup(
                "nursery", [ExceptionGroup("inner", [RpcError(StatusCode.ABORTED, "a")])]
            ),
            StatusCode.ABORTED,
            "a",
        ),
        (AbortedError("of purerpc's"), StatusCode.ABORTED, "of purerpc's"),
    ],
)
async def test_what_handlers_raise_on_purpose_is_a_status(
    raised: Exception, code: StatusCode, message: str
) -> None:
    """Wrapped by a handler's own nurseries or not; none of it is reported as a bug."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        running.toy.failure = raised
        error = await failure(channel, "Raise")
        assert (error.code, error.message) == (code, message)
        assert running.errors == []


async def test_two_failures_of_a_handler_are_a_bug() -> None:
    """Which of both the client should be told, nobody knows."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        both = [RpcError(StatusCode.ABORTED, "a"), RpcError(StatusCode.NOT_FOUND, "b")]
        running.toy.failure = ExceptionGroup("nursery", both)
        assert (await failure(channel, "Raise")).code is StatusCode.INTERNAL
        assert len(running.errors) == 1
