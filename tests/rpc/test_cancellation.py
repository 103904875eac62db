"""What ends a call, and that its handler ends with it. Events instead of sleeps."""

import pytest
import trio
import trio.testing
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from hyperframe.frame import HeadersFrame
from patience import slowness
from pki import shared_pki
from raw import raw_client, with_headers
from steps import at_every, cancelled_at
from toy import CHUNK, SERVICE, Running, serving
from wire import to_client

from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.channel import Channel, ConnectionLost
from penstock.rpc.limits import MIB

WAIT = (SERVICE, "Wait", StringValue(), StringValue)
WAIT_AFTER_ONE = (SERVICE, "WaitAfterOne", StringValue(), StringValue)
FLOOD = (SERVICE, "Flood", Int64Value(), BytesValue)


async def wait_handler_ended(running: Running) -> None:
    """Within the 100 ms that are promised."""
    with trio.fail_after(0.1 * slowness()):
        await running.toy.ended.wait()
    assert running.toy.running == 0


async def wait_no_calls(running: Running) -> None:
    while running.server.statistics().running_calls:
        await trio.testing.wait_all_tasks_blocked()


async def still_works(channel: Channel) -> bool:
    answer = await channel.unary(SERVICE, "Echo", BytesValue(value=b"x"), BytesValue)
    return answer.value == b"x"


async def test_client_leaves_stream() -> None:
    """Leaving the block of a stream resets the call; the connection goes on."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        async with channel.server_stream(*WAIT_AFTER_ONE) as call:
            await anext(call)
        await wait_handler_ended(running)
        assert await still_works(channel)


async def test_client_cancels_unary() -> None:
    """Cancelling the task that waits for an answer resets the call."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: channel.unary(*WAIT))
            await running.toy.started.wait()
            nursery.cancel_scope.cancel()
        await wait_handler_ended(running)
        assert await still_works(channel)


async def test_client_disconnects() -> None:
    """The end of a connection ends its handlers, also those that wait for a window."""
    async with serving(shared_pki()) as running:
        async with running.channel() as channel, channel.server_stream(*FLOOD) as call:
            await anext(call)
        await wait_handler_ended(running)
        await wait_no_calls(running)


async def test_raw_reset() -> None:
    """RST_STREAM from a client of another make."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            path = (":path", f"/{SERVICE}/Wait")
            stream_id = await client.request(with_headers(path), b"\0\0\0\0\0")
            await running.toy.started.wait()
            client.h2.reset_stream(stream_id, 8)
            await client.flush()
            await wait_handler_ended(running)


async def test_deadline() -> None:
    """The client's deadline ends the handler on the server, and the client's wait."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        with pytest.raises(RpcError) as caught:
            await channel.unary(*WAIT, timeout_s=0.05)
        assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
        await wait_handler_ended(running)
        assert await still_works(channel)


async def test_deadline_is_kept_by_the_server() -> None:
    """A client that sends grpc-timeout and then only listens gets the status."""
    async with serving(shared_pki()) as running:
        async with raw_client(running.port, shared_pki().client_context()) as client:
            headers = with_headers((":path", f"/{SERVICE}/Wait"), ("grpc-timeout", "20m"))
            stream_id = await client.request(headers, b"\0\0\0\0\0")
            assert (await client.answer(stream_id))["grpc-status"] == "4"
            await wait_handler_ended(running)


async def test_stream_deadline_on_the_client() -> None:
    """A stream's timeout bounds the whole of it."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        async with channel.server_stream(*WAIT_AFTER_ONE, timeout_s=0.2 * slowness()) as call:
            await anext(call)
            with pytest.raises(RpcError) as caught:
                await anext(call)
        assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
        await wait_handler_ended(running)


async def test_not_reading_is_bounded() -> None:
    """A client that reads nothing stops the handler at windows and buffer, not memory."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        async with channel.server_stream(*FLOOD) as call:
            await running.toy.started.wait()
            await trio.testing.wait_all_tasks_blocked(0.05)
            sent = running.toy.sent_chunks
            assert sent * len(CHUNK) < 3 * MIB
            for _ in range(sent + 50):
                await anext(call)
            assert running.toy.sent_chunks > sent
        await wait_handler_ended(running)


async def test_waiting_for_a_message_is_atomic() -> None:
    """C3: whenever it is cancelled, no message is lost or there twice."""
    async with serving(shared_pki()) as running, running.channel() as channel:

        async def attempt(step: int) -> bool:
            got: list[int] = []
            async with channel.server_stream(
                SERVICE, "Count", Int64Value(value=5), Int64Value
            ) as call:

                async def operation() -> None:
                    for _ in range(3):
                        got.append((await anext(call)).value)

                reached = await cancelled_at(step, operation)
                got += [message.value async for message in call]
            assert got == list(range(5))
            return reached

        assert await at_every(attempt) >= 3


async def test_never_reading_is_ended() -> None:
    """At the stated limit the call ends, and others on the connection do not notice."""
    async with serving(shared_pki(), stream_stall_s=0.05) as running:
        async with running.channel() as channel, channel.server_stream(*FLOOD) as call:
            with trio.fail_after(2 * slowness()):
                await running.toy.ended.wait()
            assert await still_works(channel)
            with pytest.raises(RpcError) as caught:
                async for _ in call:
                    pass
            assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED


async def test_server_goes() -> None:
    """Every call of a lost connection fails at once, and new ones do."""
    async with serving(shared_pki()) as running:
        codes = []

        async def one(channel: Channel) -> None:
            with pytest.raises(ConnectionLost) as caught:
                await channel.unary(*WAIT)
            codes.append(caught.value.code)

        async with running.channel() as channel:
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(one, channel)
                while running.toy.running < 5:
                    await trio.testing.wait_all_tasks_blocked()
                running.stop.cancel()
            await channel.wait_unusable()
            assert not channel.usable
            with pytest.raises(ConnectionLost):
                await channel.unary(*WAIT)
        assert codes == [StatusCode.UNAVAILABLE] * 5


async def test_drain_lets_calls_end() -> None:
    """No new calls, the running one is answered, then everything is closed."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        async with trio.open_nursery() as nursery:
            async with channel.server_stream(*WAIT_AFTER_ONE) as call:
                await anext(call)
                nursery.start_soon(running.server.drain, 5.0)
                await channel.wait_unusable()
                with pytest.raises(ConnectionLost, match="going away"):
                    await channel.unary(*WAIT)
                running.toy.release.set()
                assert [message async for message in call] == []
        assert running.server.statistics().connections == 0


async def test_drain_is_bounded() -> None:
    """Calls that do not end get UNAVAILABLE."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        async with trio.open_nursery() as nursery:
            async with channel.server_stream(*WAIT_AFTER_ONE) as call:
                await anext(call)
                nursery.start_soon(running.server.drain, 0.05)
                with pytest.raises(RpcError, match="shutting down") as caught:
                    await anext(call)
                assert caught.value.code is StatusCode.UNAVAILABLE
        assert running.toy.running == 0
        with pytest.raises(ConnectionLost):
            async with running.channel():
                pass


async def test_server_ends_after_drain() -> None:
    """``serve`` returns; a connection without calls does not hold it up."""
    async with serving(shared_pki()) as running, running.channel() as channel:
        assert await still_works(channel)
        with trio.fail_after(2 * slowness()):
            await running.server.drain(5.0)
        assert running.server.statistics().ended == {"drained": 1}


async def test_idle_connection_is_closed() -> None:
    """Only without calls."""
    async with serving(shared_pki(), idle_s=0.05) as running, running.channel() as channel:
        assert await still_works(channel)
        with trio.fail_after(2 * slowness()):
            await channel.wait_unusable()
        assert running.server.statistics().ended.get("idle", 0) <= 1


@pytest.mark.parametrize("how", ["waits", "is not read"])
async def test_a_right_that_is_withdrawn_ends_the_call_alone(how: str) -> None:
    """With the error that the server's owner gives, also where no byte fits any more; the
    connection and other calls stay, and the reason that came first counts."""
    gone = RpcError(StatusCode.PERMISSION_DENIED, "the verb is gone")
    async with serving(shared_pki()) as running, running.channel() as channel:
        call = channel.server_stream(*(WAIT_AFTER_ONE if how == "waits" else FLOOD))
        async with call as messages, trio.open_nursery() as nursery:
            nursery.start_soon(channel.unary, *WAIT)
            await anext(messages)
            await trio.testing.wait_all_tasks_blocked()
            asked = list[tuple[str, str]]()

            def refusal_of(_: object, service: str, method: str) -> RpcError | None:
                asked.append((service, method))
                return None if method == "Wait" else gone

            assert running.server.withdraw(refusal_of) == 1
            assert set(asked) == {(SERVICE, "Wait"), (SERVICE, messages_of(how))}
            assert running.server.withdraw(lambda *_: None) == 0
            with trio.fail_after(1 * slowness()), pytest.raises(RpcError) as caught:
                async for _ in messages:
                    pass
            assert (caught.value.code, caught.value.message) == (gone.code, gone.message)
            assert await still_works(channel)
            running.toy.release.set()


def messages_of(how: str) -> str:
    return "WaitAfterOne" if how == "waits" else "Flood"


async def test_error_in_a_channel_is_not_wrapped() -> None:
    """What is raised inside of the block comes out of it as it is."""
    async with serving(shared_pki()) as running:
        with pytest.raises(KeyError):
            async with running.channel():
                raise KeyError("mine")


@pytest.mark.parametrize("how", ["left", "raised"])
async def test_leaving_a_channel_ends_its_calls(how: str) -> None:
    """Also those of tasks that outlive it, waiting for an answer or for room to send."""
    failed: list[RpcError] = []

    async def call(channel: Channel, size: int) -> None:
        with pytest.raises(ConnectionLost) as caught:
            await channel.unary(SERVICE, "Echo", BytesValue(value=bytes(size)), BytesValue)
        failed.append(caught.value)

    async with trio.open_nursery() as nursery:
        try:
            async with to_client() as (wire, channel):  # whose server opens no window
                nursery.start_soon(call, channel, 1)
                nursery.start_soon(call, channel, 300_000)
                await wire.expect(HeadersFrame)
                await wire.expect(HeadersFrame)
                await trio.testing.wait_all_tasks_blocked(0.01)
                if how == "raised":
                    raise KeyError
        except* KeyError:
            assert how == "raised"
        await trio.testing.wait_all_tasks_blocked()
        assert len(failed) == 2
        with pytest.raises(ConnectionLost):
            await channel.unary(*WAIT)
