"""Clients that come and go at random: nothing of them stays."""

import random
from collections.abc import Callable

import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from leaks import Descriptors
from patience import patient
from pki import shared_pki
from toy import SERVICE, Running, serving

from penstock.rpc.call_errors import RpcError
from penstock.rpc.channel import Channel

CLIENTS = 20


async def one_call(channel: Channel, choice: random.Random) -> None:
    """Any kind of call, given up at any moment."""
    match choice.randrange(5):
        case 0:
            await channel.unary(SERVICE, "Echo", BytesValue(value=b"x" * 500), BytesValue)
        case 1:
            timeout_s = choice.uniform(0.001, 0.05)
            await channel.unary(SERVICE, "Wait", StringValue(), StringValue, timeout_s=timeout_s)
        case 2:
            with trio.move_on_after(choice.uniform(0, 0.05)):
                async with channel.server_stream(
                    SERVICE, "Flood", Int64Value(value=0), BytesValue
                ) as chunks:
                    async for _ in chunks:
                        if choice.random() < 0.05:
                            return
        case 3:
            with trio.move_on_after(choice.uniform(0, 0.05)):
                async with channel.open_call(SERVICE, "Both", Int64Value) as call:
                    while await call.send(Int64Value(value=1)):
                        await call.__anext__()
        case _:
            await channel.unary(SERVICE, "Bug", StringValue(), StringValue)


async def come_and_go(running: Running, choice: random.Random, enough: Callable[[], bool]) -> None:
    """Connections of a few calls, some of which are left in the middle."""
    while not enough():
        who = choice.choice(("alice", "bob", "carol"))
        with trio.move_on_after(choice.uniform(0.01, 1.0)):
            try:
                async with running.channel(who) as channel, trio.open_nursery() as nursery:

                    async def calls(channel: Channel = channel) -> None:
                        while True:
                            try:
                                await one_call(channel, choice)
                            except RpcError:
                                if not channel.usable:
                                    return
                            await trio.lowlevel.checkpoint()

                    for _ in range(choice.randrange(1, 5)):
                        nursery.start_soon(calls)
            except* RpcError:
                await trio.lowlevel.checkpoint()


async def soak(seconds: float) -> None:
    """For so long at least. Raises AssertionError if a task, descriptor or handler is left."""
    descriptors = Descriptors()
    # Texts alone: with the tracebacks of a minute it would be 370 MB.
    bugs: set[str] = set()

    def on_bug(_: str, error: BaseException) -> None:
        bugs.add(str(error))

    async with serving(shared_pki(), on_internal_error=on_bug) as running:
        await trio.testing.wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        seed = random.randrange(2**32)
        print(f"seed {seed}")
        choice = random.Random(seed)
        until = trio.current_time() + seconds

        def enough() -> bool:
            """Not by the time alone: on a busy machine, little comes and goes in a second."""
            ended = sum(running.server.statistics().ended.values())
            return trio.current_time() >= until and ended > CLIENTS and bool(bugs)

        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS):
                nursery.start_soon(come_and_go, running, random.Random(choice.random()), enough)
        with trio.fail_after(patient(10)):
            while running.server.statistics().connections:  # noqa: ASYNC110 - nothing tells of it
                await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        found = running.server.statistics()
        print(f"handlers begun {running.toy.most_running} at most at once; ended {found.ended}")
        assert (found.running_calls, found.handshakes, running.toy.running) == (0, 0, 0)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert sum(found.ended.values()) > CLIENTS
        assert bugs == {"the secret text of a bug"}
    assert not descriptors.opened_since()


@pytest.mark.slow
async def test_clients_come_and_go_for_a_while() -> None:
    """One second, at every run of the tests."""
    await soak(1)


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_clients_come_and_go_for_a_minute() -> None:
    """Sixty seconds."""
    await soak(60)
