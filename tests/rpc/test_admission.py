"""What is judged of a call before its message is there: who, may they, size, fields."""

from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value
from google.rpc.error_details_pb2 import RetryInfo
from hyperframe.frame import DataFrame, HeadersFrame
from pki import shared_pki
from raw import GRPC_HEADERS, message
from toy import SERVICE, Running, serving
from wire import Wire, connected, data

from penstock.rpc import wire_fields
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.rpc.limits import MessageLimits
from penstock.rpc.message_framing import prefix
from penstock.rpc.wire_fields import FieldCounter

DENIED = str(StatusCode.PERMISSION_DENIED.value)
EXHAUSTED = str(StatusCode.RESOURCE_EXHAUSTED.value)
INVALID = str(StatusCode.INVALID_ARGUMENT.value)


def head(wire: Wire, stream_id: int, method: str = "Echo") -> HeadersFrame:
    path = f"/{SERVICE}/{method}"
    return wire.headers(stream_id, [(n, path if n == ":path" else v) for n, v in GRPC_HEADERS])


def held_bytes(running: Running) -> int:
    """Of messages, by all connections."""
    return running.server._shared.held.size


def nobody(identity: Any, service: str, method: str) -> None:
    raise RpcError(StatusCode.PERMISSION_DENIED, "not you", (RetryInfo(),))


async def test_a_call_is_refused_by_its_headers() -> None:
    """Its message never comes, and none of what does is kept; no task is started for it."""
    async with serving(shared_pki(), admit=nobody) as running, connected(running) as wire:
        await wire.send(head(wire, 1))
        assert await wire.status(1) == DENIED
        await wire.send(
            *(data(1, (prefix(3_000_000) if n == 0 else b"") + bytes(16_000)) for n in range(60))
        )
        await wire.lives()
        assert held_bytes(running) == 0
        assert running.server.statistics().running_calls == 0
        assert running.toy.contexts == []
        await wire.send(head(wire, 3), data(3, message(b""), end=True))
        assert await wire.status(3) == DENIED
        await wire.lives()


async def test_a_refusal_has_its_details() -> None:
    """As one that a handler raises."""
    async with serving(shared_pki(), admit=nobody) as running, running.channel() as channel:
        for _ in range(3):
            with pytest.raises(RpcError, match="not you") as caught:
                await channel.unary(SERVICE, "Echo", BytesValue(value=bytes(100_000)), BytesValue)
            assert caught.value.code is StatusCode.PERMISSION_DENIED
            assert any(isinstance(detail, RetryInfo) for detail in caught.value.details)


async def test_what_is_asked_is_who_and_which_method() -> None:
    """Only for methods that there are, and not of those whose identity is refused."""
    asked: list[tuple[Any, str, str]] = []
    async with (
        serving(
            shared_pki(),
            identify=lambda peer: "me",
            admit=lambda *what: asked.append(what),
        ) as running,
        connected(running) as wire,
    ):
        await wire.send(
            wire.call(1), wire.call(3, "/toy.Toy/Nothing"), wire.call(5, "/toy.No/Echo")
        )
        assert await wire.status(1) == "0"
        assert await wire.status(5) == str(StatusCode.UNIMPLEMENTED.value)
        assert asked == [("me", SERVICE, "Echo")]


async def test_a_bug_in_admitting_ends_that_call_alone() -> None:
    """INTERNAL with an id; what it was goes to whoever runs the server."""

    def bug(identity: Any, service: str, method: str) -> None:
        if method == "Echo":
            raise KeyError("the secret text of a bug")

    async with serving(shared_pki(), admit=bug) as running, connected(running) as wire:
        await wire.send(wire.call(1))
        assert await wire.status(1) == str(StatusCode.INTERNAL.value)
        await wire.send(wire.call(3, "/toy.Toy/Bug"))
        await wire.lives()
        assert isinstance(running.errors[0][1], KeyError)


async def test_each_method_has_its_size() -> None:
    """By the length in front of the message: not a byte of it has come, and none is kept."""
    sizes = {f"{SERVICE}/Echo": MessageLimits(1000, 10)}
    async with (
        serving(shared_pki(), message_limits=sizes, message_bytes=100) as running,
        connected(running) as wire,
    ):
        for stream_id, method, most in ((1, "Echo", 1000), (5, "Raise", 100), (9, "Both", 100)):
            await wire.send(head(wire, stream_id, method), data(stream_id, prefix(most + 1)))
            assert await wire.status(stream_id) == EXHAUSTED
            await wire.send(head(wire, stream_id + 2, method), data(stream_id + 2, prefix(most)))
            await wire.lives()
            assert held_bytes(running) == 5
            await wire.send(data(stream_id + 2, b"\xff" * most, end=True))
            assert await wire.status(stream_id + 2) == INVALID
            assert held_bytes(running) == 0
        for stream_id, service in ((21, "grpc.health.v1.Health/Check"),):
            fields = [(n, f"/{service}" if n == ":path" else v) for n, v in GRPC_HEADERS]
            await wire.send(wire.headers(stream_id, fields), data(stream_id, prefix(101)))
            assert await wire.status(stream_id) == EXHAUSTED


@pytest.mark.parametrize("method", ["Echo", "Both", "Total"])
async def test_fields_are_counted_before_a_message_is_parsed(method: str) -> None:
    """Of calls with one message and with many; the connection and its other calls go on."""
    async with serving(shared_pki(), message_fields=3) as running, connected(running) as wire:
        await wire.send(head(wire, 1, method), data(1, message(b"\x10\x00" * 4), end=True))
        assert await wire.status(1) == INVALID
        await wire.send(head(wire, 3, method), data(3, message(b"\x10\x00" * 3), end=True))
        assert await wire.status(3) == "0"
        assert running.server.statistics().refused["message_fields"] == 1


async def test_messages_that_cost_much_are_read_a_slice_a_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A hundred at once: between two slices of them everybody else has a turn."""
    sizes = {f"{SERVICE}/Both": MessageLimits(1000, 10, one_a_turn=True)}
    turns = 0
    seen: list[int] = []
    true = FieldCounter.ends

    class Counting(trio.abc.Instrument):
        def before_io_wait(self, timeout: float) -> None:
            nonlocal turns
            turns += 1

    def looked(self: FieldCounter, data: bytes) -> Iterator[int]:
        for end in true(self, data):
            if self.limits.one_a_turn:
                seen.append(turns)
            yield end

    monkeypatch.setattr(wire_fields, "_FIELDS_A_SLICE", 3)
    monkeypatch.setattr(FieldCounter, "ends", looked)
    async with serving(shared_pki(), message_limits=sizes) as running, connected(running) as wire:
        instrument = Counting()
        trio.lowlevel.add_instrument(instrument)
        whole = Int64Value(value=7).SerializeToString() * 10
        try:
            await wire.send(
                *(
                    part
                    for stream_id in range(1, 61, 2)
                    for part in (
                        head(wire, stream_id, "Both"),
                        data(stream_id, message(whole), end=True),
                    )
                )
            )
            for stream_id in range(1, 61, 2):
                assert await wire.status(stream_id) == "0"
        finally:
            trio.lowlevel.remove_instrument(instrument)
        answers = [each.data[5:] for each in wire.seen if isinstance(each, DataFrame)]
        assert answers == [Int64Value(value=7).SerializeToString()] * 30
    assert len(seen) == 30 * 4
    assert len(set(seen)) == len(seen)


def test_limits_for_what_is_not_served_are_a_mistake() -> None:
    """A method that was renamed would have none."""
    from toy import Toy

    from penstock.rpc.grpc_server import Server

    with pytest.raises(ValueError, match="Eco, which is not served"):
        Server(
            [Toy().service],
            shared_pki().server_context(),
            message_limits={"toy.Toy/Eco": MessageLimits(1, 1)},
        )
