"""A watcher reconnects by itself: each change once, in order, and what was skipped is told."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
import trio
from google.rpc.error_details_pb2 import ErrorInfo
from scripted_job import ENDPOINT, Scripted, Step

from penstock.client import JobWatcher, News
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, RpcError, StatusCode

pytestmark = pytest.mark.mock_clock
LOST = ConnectionLost("cut")
SILENCE = trio.Event
ENOUGH = 1_000


class Kept(News):
    def __init__(self) -> None:
        self.said: list[str] = []

    def lost(self, error: RpcError) -> None:
        self.said.append(f"lost: {error.message}")

    def resumed(self, offset: int) -> None:
        self.said.append(f"resumed at {offset}")


def at(sequence: int, **more: Any) -> pb.WatchResponse:
    """The first message of a call."""
    return pb.WatchResponse(sequence=sequence, **more)


def change(sequence: int) -> pb.WatchResponse:
    return pb.WatchResponse(sequence=sequence, handle=str(sequence), state=pb.JOB_STATE_RUNNING)


def beat(sequence: int) -> pb.WatchResponse:
    return pb.WatchResponse(sequence=sequence, heartbeat=True)


async def watched(
    *calls: Sequence[Step], scripted: Scripted | None = None, **options: Any
) -> tuple[list[pb.WatchResponse], JobWatcher, Scripted]:
    """What is delivered by calls of these steps, one a connection, until the last one has ended."""
    scripted = scripted or Scripted(lambda number, request: calls[number])
    watcher = JobWatcher(ENDPOINT, connecting=scripted, **options)
    got: list[pb.WatchResponse] = []

    async def take(message: pb.WatchResponse) -> None:
        await trio.lowlevel.checkpoint()
        got.append(message)

    with pytest.raises(RpcError, match="the last one"):
        await watcher.deliver(take)
    assert scripted.open == 0, "a connection was left open"
    return got, watcher, scripted


LAST = RpcError(StatusCode.INTERNAL, "the last one")


@pytest.mark.parametrize("seed", range(5))
async def test_a_hundred_cuts_miss_and_repeat_nothing(seed: int) -> None:
    """Each call resumes behind the last message of the one before."""
    random = Random(seed)
    cuts = 100

    def answer(number: int, request: pb.WatchRequest) -> list[Step]:
        begin = request.after if request.HasField("after") else 0
        steps: list[Step] = [at(begin)]
        for sequence in range(begin + 1, ENOUGH + 1):
            steps.append(change(sequence))
            if random.random() < 0.1:
                steps.append(beat(sequence))
        if number < cuts:
            return [*steps[: random.randrange(20)], LOST]
        return [*steps, LAST]

    got, watcher, scripted = await watched(scripted=Scripted(answer))
    assert len(scripted.requests) == cuts + 1
    assert [each.sequence for each in got] == list(range(ENOUGH + 1))
    assert [bool(each.handle) for each in got] == [False] + [True] * ENOUGH
    assert watcher.sequence == ENOUGH


async def test_what_was_skipped_is_told_wherever_it_is() -> None:
    """As a call resumes, and in the middle of one; a heartbeat counts as a place to resume from."""
    kept = Kept()
    got, _, scripted = await watched(
        [at(5), change(6), beat(7), LOST],
        [at(7), change(8), LOST],
        [at(20, resync=True), change(21), at(40, resync=True), change(41), LAST],
        news=kept,
    )
    assert [(each.sequence, each.resync) for each in got] == [
        *((5, False), (6, False), (8, False)),
        *((20, True), (21, False), (40, True), (41, False)),
    ]
    assert [each.HasField("after") for each in scripted.requests] == [False, True, True]
    assert [each.after for each in scripted.requests] == [0, 7, 8]
    assert kept.said == ["lost: cut", "resumed at 7", "lost: cut", "resumed at 20"]


async def test_a_watch_begins_where_it_is_told_and_leaves_out_what_it_is_told() -> None:
    """The first message is delivered in any case: then a caller lists, or need not."""
    got, _, scripted = await watched(
        [LOST],
        [at(9), change(10), LAST],
        after=9,
        states=[pb.JOB_STATE_FINISHED],
        command="sleep",
        handles=["7"],
        name="web",
        labels={"tier": "one"},
        label_keys=["run"],
        prefix="4",
        heartbeat_s=5.0,
    )
    assert [each.sequence for each in got] == [9, 10]
    wanted = pb.WatchRequest(
        after=9,
        heartbeat_s=5.0,
        states=[pb.JOB_STATE_FINISHED],
        command="sleep",
        handles=["7"],
        name="web",
        labels={"tier": "one"},
        label_keys=["run"],
        prefix="4",
    )
    assert scripted.requests == [wanted, wanted]


@pytest.mark.parametrize("end", [SILENCE, None])
async def test_silence_and_a_server_that_ends_the_watch_are_losses(end: Any) -> None:
    """Three heartbeats without one; or the call ends in good order, as nothing ends a watch."""
    began = trio.current_time()
    got, _, scripted = await watched([at(1), end], [at(1), change(2), LAST], heartbeat_s=2.0)
    assert [each.sequence for each in got] == [1, 2]
    assert len(scripted.requests) == 2
    assert (trio.current_time() - began >= 6.0) == (end is SILENCE)


async def test_it_gives_up_after_a_time_without_anything_new() -> None:
    """And says so; a quota that refuses it again is waited for, another refusal is not."""
    full = RpcError(StatusCode.RESOURCE_EXHAUSTED, "full", (ErrorInfo(reason="QUOTA"),))
    scripted = Scripted(lambda number, request: [at(1), change(2), LOST] if number == 0 else [full])
    watcher = JobWatcher(ENDPOINT, connecting=scripted, give_up_s=30.0)
    began = trio.current_time()
    async with watcher.messages() as messages:
        assert (await anext(messages)).sequence == 1
        assert (await anext(messages)).sequence == 2
        with pytest.raises(RpcError, match="full") as caught:
            await anext(messages)
    assert caught.value.__notes__ == ["given up after 30 s without anything new"]
    assert 30 <= trio.current_time() - began < 40
    denied = RpcError(StatusCode.PERMISSION_DENIED, "the last one")
    _, _, scripted = await watched([denied])
    assert len(scripted.requests) == 1


async def test_an_error_of_who_takes_is_not_tried_again() -> None:
    """Though it looks like a lost connection."""
    scripted = Scripted(lambda number, request: [at(1), change(2), LAST])

    async def take(message: pb.WatchResponse) -> None:
        await trio.lowlevel.checkpoint()
        raise LOST

    with pytest.raises(ConnectionLost):
        await JobWatcher(ENDPOINT, connecting=scripted).deliver(take)
    assert len(scripted.requests) == 1
    assert scripted.open == 0


async def test_a_message_that_was_not_dealt_with_comes_again() -> None:
    """``sequence`` is behind the last one that ``take`` has returned from, or a heartbeat."""
    steps: list[Step] = [at(1), change(2), beat(4), change(6), change(7), LAST]
    watcher = JobWatcher(ENDPOINT, connecting=Scripted(lambda number, request: steps))
    seen: list[tuple[int, int | None]] = []

    async def take(message: pb.WatchResponse) -> None:
        await trio.lowlevel.checkpoint()
        seen.append((message.sequence, watcher.sequence))
        if message.sequence == 6:
            raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        await watcher.deliver(take)
    assert seen == [(1, None), (2, 1), (6, 4)]
    assert watcher.sequence == 4


async def test_iterating_deals_with_a_message_by_asking_for_the_next() -> None:
    """However far ahead the server is, and over a lost connection."""

    def answer(number: int, request: pb.WatchRequest) -> list[Step]:
        if number == 0:
            return [at(1), change(2), beat(3), LOST]
        steps: list[Step] = [at(request.after), change(6), beat(7), SILENCE]
        return steps

    scripted = Scripted(answer)
    watcher = JobWatcher(ENDPOINT, connecting=scripted)
    async with watcher.messages() as messages:
        assert (await anext(messages)).sequence == 1
        await trio.sleep(1)
        assert watcher.sequence is None
        assert (await anext(messages)).sequence == 2
        await trio.sleep(1)
        assert watcher.sequence == 1
        assert (await anext(messages)).sequence == 6
        await trio.sleep(1)
        assert watcher.sequence in (2, 3)
        with trio.move_on_after(1) as scope:
            await anext(messages)
        assert scope.cancelled_caught
        assert watcher.sequence == 6
    assert [each.after for each in scripted.requests] == [0, 3]


async def test_more_jobs_than_a_request_may_name_are_picked_out_here() -> None:
    """Changes of others count as seen."""
    handles = [str(at) for at in range(0, 202, 2)]
    got, watcher, scripted = await watched(
        [at(1), change(2), change(3), change(4), change(5), LAST], handles=handles
    )
    assert [each.sequence for each in got] == [1, 2, 4]
    assert watcher.sequence == 5
    assert list(scripted.requests[0].handles) == []
