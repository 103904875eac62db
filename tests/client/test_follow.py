"""The client connects again by itself: every byte once, checked, in memory and virtual time."""

import hashlib
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

import pytest
import trio
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from hypothesis import given
from hypothesis import strategies as st
from scripted_job import (
    ENDPOINT,
    Scripted,
    Step,
    beat,
    begin,
    cut_at_random,
    hole,
    piece,
    record,
)

from penstock.client.backoff import FIRST_PAUSE_S, LONGEST_PAUSE_S, Backoff
from penstock.client.follow import (
    DigestMismatch,
    EndMissing,
    Follower,
    OutputBroken,
    Part,
)
from penstock.client.resumption import HEARTBEAT_S, News
from penstock.client.retry import GIVE_UP_S
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import ConnectionLost, HandshakeFailed, RpcError, StatusCode

pytestmark = pytest.mark.mock_clock
LOST = ConnectionLost("cut")
SILENCE = trio.Event


class Kept(News):
    def __init__(self) -> None:
        self.said: list[str] = []

    def lost(self, error: RpcError) -> None:
        self.said.append(f"lost: {error.message}")

    def resumed(self, offset: int) -> None:
        self.said.append(f"resumed at {offset}")


async def followed(
    *streams: Sequence[Step],
    part: Part | None = None,
    scripted: Scripted | None = None,
    **options: Any,
) -> tuple[list[pb.StreamOutputResponse], Follower, Scripted]:
    """What is delivered by streams of these steps, one a connection."""
    scripted = scripted or Scripted(lambda number, request: streams[number])
    follower = Follower(ENDPOINT, "7", part or Part(), connecting=scripted, **options)
    got: list[pb.StreamOutputResponse] = []

    async def take(message: pb.StreamOutputResponse) -> None:
        await trio.lowlevel.checkpoint()
        got.append(message)

    try:
        await follower.deliver(take)
    finally:
        assert scripted.open == 0, "a connection was left open"
    return got, follower, scripted


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gaps", [(), ((0, 900), (20_000, 20_001), (149_000, 150_000))])
async def test_a_hundred_cuts_lose_and_repeat_nothing(
    seed: int, gaps: tuple[tuple[int, int], ...]
) -> None:
    """The SHA-256 of what came is the end record's; each byte is in one chunk or one gap."""
    random = Random(seed)
    output = random.randbytes(150_000)
    scripted = Scripted(cut_at_random(random, output, gaps, 100))
    got, follower, _ = await followed(scripted=scripted)
    assert len(scripted.requests) == 101
    at = 0
    digest = hashlib.sha256()
    for message in got:
        assert message.offset == at
        at = message.next_offset
        digest.update(message.data)
    assert at == len(output)
    assert follower.end is not None
    assert digest.hexdigest() == follower.end.output_sha256
    assert follower.verdict.verified
    assert [message.HasField("job") for message in got].count(True) == 1
    assert not any(message.heartbeat for message in got)


async def test_iterating_is_the_same_and_a_cancelled_wait_loses_nothing() -> None:
    """A wait that was given up is followed by the next byte; errors are raised by iterating."""
    output = b"abc"
    steps: list[list[Step]] = [
        [begin(), piece(0, b"a"), LOST],
        [begin(1), piece(1, b"b"), SILENCE],
        [begin(2), piece(2, b"c"), record(output), RpcError(StatusCode.INTERNAL, "late")],
    ]
    scripted = Scripted(lambda number, request: steps[number])
    follower = Follower(ENDPOINT, "7", connecting=scripted)
    found = b""
    waits = 0
    async with follower.messages() as messages:
        while follower.end is None:
            with trio.move_on_after(1):
                found += (await anext(messages)).data
            waits += 1
        with pytest.raises(StopAsyncIteration):
            await anext(messages)
    assert found == output
    assert waits > HEARTBEAT_S
    assert follower.verdict.verified
    broken = Follower(ENDPOINT, "7", connecting=Scripted(lambda number, request: [beat(0)]))
    with pytest.raises(OutputBroken):
        async with broken.messages() as messages:
            await anext(messages)


async def test_leaving_and_cancelling_free_everything() -> None:
    """At a read, at a pause, while the consumer works: no connection, no task is left."""
    steps: list[Step] = [begin(), piece(0, b"a"), SILENCE]
    scripted = Scripted(lambda number, request: steps)
    follower = Follower(ENDPOINT, "7", connecting=scripted)
    async with follower.messages() as messages:
        await anext(messages)
        assert scripted.open == 2  # the connection, and its stream
    assert scripted.open == 0

    async def fail_within() -> None:
        async with Follower(ENDPOINT, "7", connecting=scripted).messages() as messages:
            await anext(messages)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_within()
    assert scripted.open == 0
    for after_s in (0.0, 10.0):  # reading; pausing after the loss
        lost = Scripted(lambda number, request: steps, lambda number: LOST if number else None)
        with trio.move_on_after(after_s + SILENCE_S * (after_s > 0)) as scope:
            await followed(scripted=lost)
        assert scope.cancelled_caught
        assert lost.open == 0


SILENCE_S = 3 * HEARTBEAT_S


async def test_what_the_consumer_raises_is_no_lost_connection() -> None:
    """Also where it looks like one."""
    scripted = Scripted(lambda number, request: [begin(), piece(0, b"a")])
    error = ConnectionLost("another one")

    async def take(message: pb.StreamOutputResponse) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    with pytest.raises(ConnectionLost) as caught:
        await Follower(ENDPOINT, "7", connecting=scripted).deliver(take)
    assert caught.value is error
    assert len(scripted.times) == 1


async def test_each_loss_is_told_once_and_each_return() -> None:
    """However many attempts it takes."""
    news = Kept()
    steps: list[list[Step]] = [
        [begin(), piece(0, b"a"), LOST],
        [RpcError(StatusCode.UNAVAILABLE, "the server is shutting down")],
        [LOST],
        [begin(1), piece(1, b"b"), record(b"ab")],
    ]
    _, _, scripted = await followed(*steps, news=news)
    assert news.said == ["lost: cut", "resumed at 1"]
    assert [request.offset for request in scripted.requests] == [0, 1, 1, 1]
    assert all(request.raw and request.heartbeat_s == HEARTBEAT_S for request in scripted.requests)


async def test_a_tail_and_a_time_go_on_by_the_offset() -> None:
    """They would mean another place by then."""
    output = b"x" * 10
    for part in (Part(tail_lines=2), Part(tail_lines=0), Part(since_ns=9)):
        steps: list[list[Step]] = [
            [begin(4), piece(4, b"xxx"), LOST],
            [begin(7), piece(7, b"xxx"), record(output)],
        ]
        _, follower, scripted = await followed(*steps, part=part)
        first, second = scripted.requests
        asked = first.tail_lines if first.HasField("tail_lines") else None
        assert (first.offset, asked, first.since_ns) == (0, part.tail_lines, part.since_ns)
        assert not second.HasField("tail_lines")
        assert (second.offset, second.tail_lines, second.since_ns) == (7, 0, 0)
        assert not follower.verdict.verified
        assert "byte 0" in follower.verdict.why


async def test_silence_is_a_loss() -> None:
    """After three heartbeats that did not come; heartbeats themselves keep the stream."""
    beats: list[Step] = [beat(1)] * 3
    steps: list[list[Step]] = [
        [begin(), piece(0, b"a"), *beats, SILENCE],
        [begin(1), record(b"a")],
    ]
    news = Kept()
    _, _, scripted = await followed(*steps, news=news)
    assert 60 <= scripted.times[1] - scripted.times[0] < 61
    assert news.said[0] == "lost: the server has said nothing for 60 s"
    steps[0] = [begin(), SILENCE]
    with trio.move_on_after(86400) as scope:
        await followed(*steps, heartbeat_s=0.0)
    assert scope.cancelled_caught, "without heartbeats silence means nothing"


async def test_it_gives_up_after_the_time_without_anything_new() -> None:
    """With pauses that double, and a last attempt at the end; the error says so."""
    scripted = Scripted(
        lambda number, request: [begin(), piece(0, b"a"), ConnectionLost("cut")],
        lambda number: ConnectionLost("away") if number else None,
    )
    began = trio.current_time()
    with pytest.raises(ConnectionLost) as caught:
        await followed(scripted=scripted)
    assert trio.current_time() - began == pytest.approx(GIVE_UP_S)
    assert caught.value.__notes__ == ["given up after 60 s without anything new"]
    pauses = [b - a for a, b in zip(scripted.times, scripted.times[1:], strict=False)]
    assert FIRST_PAUSE_S / 2 <= pauses[0] <= FIRST_PAUSE_S
    assert max(pauses) <= LONGEST_PAUSE_S
    assert 12 <= len(pauses) <= 40
    scripted.times.clear()
    scripted.requests.clear()
    with pytest.raises(ConnectionLost) as caught:
        await followed(scripted=scripted, give_up_s=0.0)
    assert len(scripted.times) == 1
    assert not hasattr(caught.value, "__notes__")


async def test_a_server_that_answers_and_breaks_is_given_up_too() -> None:
    """An answer alone is nothing new; a quiet stream that stands for a while is."""
    streams = Scripted(lambda number, request: [begin(), ConnectionLost("broken")])
    with pytest.raises(ConnectionLost):
        await followed(scripted=streams)
    assert trio.current_time() >= GIVE_UP_S
    quiet = Scripted(lambda number, request: [begin(), SILENCE])
    with trio.move_on_after(3600) as scope:
        await followed(scripted=quiet)
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    "error",
    [
        *(
            RpcError(code, "no", [ErrorInfo(reason="X")])
            for code in (
                StatusCode.NOT_FOUND,
                StatusCode.PERMISSION_DENIED,
                StatusCode.UNAUTHENTICATED,
                StatusCode.OUT_OF_RANGE,
                StatusCode.INTERNAL,
                StatusCode.INVALID_ARGUMENT,
            )
        ),
        HandshakeFailed("revoked"),
        RpcError(StatusCode.RESOURCE_EXHAUSTED, "of our own channel"),
    ],
    ids=str,
)
async def test_a_refusal_ends_it_at_once(error: RpcError) -> None:
    """At the first stream and at a later one."""
    began = trio.current_time()
    with pytest.raises(RpcError) as caught:
        await followed([begin(), error])
    assert caught.value is error
    with pytest.raises(RpcError) as caught:
        await followed([begin(), piece(0, b"a"), LOST], [error])
    assert caught.value is error
    scripted = Scripted(lambda number, request: [], lambda number: error)
    with pytest.raises(RpcError):
        await followed(scripted=scripted)
    assert trio.current_time() - began < 0.2


async def test_a_quota_refuses_the_first_stream_and_delays_a_later_one() -> None:
    """The server may not have noticed yet that the last one is gone; it says how long to wait."""
    delay = Duration(seconds=3)
    error = RpcError(StatusCode.RESOURCE_EXHAUSTED, "streams", [RetryInfo(retry_delay=delay)])
    with pytest.raises(RpcError):
        await followed([error])
    steps: list[list[Step]] = [[begin(), LOST], [error], [begin(), record(b"")]]
    _, _, scripted = await followed(*steps)
    assert scripted.times[2] - scripted.times[1] == 3


async def test_a_connection_that_is_there_is_used_first() -> None:
    """And stays its owner's; when it is lost, others are made."""
    steps: list[list[Step]] = [[begin(), piece(0, b"a"), LOST], [begin(1), record(b"a")]]
    scripted = Scripted(lambda number, request: steps[number])
    follower = Follower(ENDPOINT, "7", connecting=scripted)
    async with follower.messages(client=scripted.client()) as messages:
        got = [message.data async for message in messages]
    assert got == [b"", b"a", b""]
    assert len(scripted.times) == 1


OUT, ERR = pb.STREAM_STDOUT, pb.STREAM_STDERR
BOTH_AT_ONCE = pb.StreamOutputResponse(data=b"a", heartbeat=True, stream=OUT, next_offset=1)
TEXT = pb.StreamOutputResponse(output="a", stream=OUT, next_offset=1)
LONG = pb.StreamOutputResponse(data=b"a", stream=OUT, next_offset=9)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([piece(0, b"a")], "does not begin with its job"),
        ([begin(3)], "begins at byte 3, but byte 0 was asked for"),
        ([begin(), begin()], "twice"),
        ([begin(), piece(1, b"a")], "byte 1 came where byte 0 was due"),
        ([begin(), piece(0, b"ab"), piece(1, b"b")], "byte 1 came where byte 2 was due"),
        ([begin(), hole(2, 3)], "byte 2 came where byte 0 was due"),
        ([begin(), hole(0, 0)], "a gap of bytes 0 to 0 is none"),
        ([begin(), piece(0, b"a"), beat(2)], "byte 2 came where byte 1 was due"),
        ([begin(), BOTH_AT_ONCE], "data and heartbeat at once"),
        ([begin(), TEXT], "text, although exact bytes"),
        ([begin(), LONG], "says that it is of bytes 0 to 9"),
        ([begin(), record(b"a")], "byte 1 came where byte 0 was due"),
        ([begin(), record(b"", output_bytes=5)], "wrote 5 bytes, and the stream ended at byte 0"),
        ([begin(), record(b"", output_sha256="XY")], "SHA-256 is none"),
        ([begin(), record(b"", sha256_to=7)], "bytes that the job did not write"),
        ([begin(), piece(0, b"ab"), record(b"ab", [(1, 3)])], "gap of bytes 1 to 3 is none"),
        ([begin(), piece(0, b"ab"), record(b"ab", [(1, 2), (0, 1)])], "gap of bytes 0 to 1"),
    ],
)
async def test_what_cannot_be_the_output_is_an_error(steps: list[Step], text: str) -> None:
    """It says where, and is never tried again."""
    with pytest.raises(OutputBroken, match=text):
        await followed(steps)


async def test_after_a_loss_it_must_be_the_same_job_and_place() -> None:
    """A handle of a server that has lost its records is another job's."""
    first: list[Step] = [begin(), piece(0, b"a"), LOST]
    with pytest.raises(OutputBroken, match="begins at byte 0, but byte 1"):
        await followed(first, [begin(0)])
    with pytest.raises(OutputBroken, match="another job by 7"):
        await followed(first, [begin(1, started_ns=6)])


async def test_other_bytes_than_the_end_records_are_an_error() -> None:
    """Which has the record, and is raised instead of the last message."""
    for wrong in (record(b"ab"), record(b"a", output_sha256="0" * 64)):
        output = wrong.finished.output_bytes
        with pytest.raises(DigestMismatch, match="changed on the server's disk") as caught:
            await followed([begin(), piece(0, b"x" * output), wrong])
        assert caught.value.end.reason == "exited"


async def test_an_end_without_its_record_is_an_error_when_following() -> None:
    """And the end of what is there when not."""
    with pytest.raises(EndMissing, match="ended before the job did"):
        await followed([begin(), piece(0, b"a")])
    with pytest.raises(EndMissing, match="before it had begun"):
        await followed([])
    got, follower, _ = await followed([begin(), piece(0, b"a")], part=Part(follow=False))
    assert got[-1].data == b"a"
    assert (follower.end, follower.verdict.verified) == (None, False)


async def test_with_a_filter_skips_are_allowed_forward_alone() -> None:
    """A heartbeat tells how far other streams have gone, which a resume may use."""
    part = Part(streams=(OUT,))
    steps: list[list[Step]] = [
        [begin(), piece(3, b"a"), beat(9), LOST],
        [begin(9), piece(20, b"b"), record(b"x" * 30)],
    ]
    _, follower, scripted = await followed(*steps, part=part)
    assert list(scripted.requests[1].streams) == [OUT]
    assert (follower.verdict.verified, follower.verdict.why) == (
        False,
        "only some of the streams were asked for",
    )
    with pytest.raises(OutputBroken, match="byte 2 came where byte 4 was due"):
        await followed([begin(), piece(3, b"a"), piece(2, b"a")], part=part)
    with pytest.raises(OutputBroken, match="nobody asked for"):
        await followed([begin(), piece(3, b"a", stream=ERR)], part=part)


OUTPUT = bytes(range(100))
PIECES: dict[str, tuple[list[Step], Part, pb.StreamOutputResponse, bool]] = {
    "gaps as recorded, told in parts": (
        [begin(), piece(0, OUTPUT[:10]), hole(10, 15), hole(15, 30), piece(30, OUTPUT[30:])],
        Part(),
        record(OUTPUT, [(10, 30)]),
        True,
    ),
    "the oldest were dropped before": (
        [begin(), hole(0, 40, "retention"), piece(40, OUTPUT[40:])],
        Part(),
        record(OUTPUT, [(0, 40)], sha256_from=40),
        True,
    ),
    "read from the first byte that is kept": (
        [begin(40), piece(40, OUTPUT[40:])],
        Part(offset=40),
        record(OUTPUT, [(0, 40)], sha256_from=40),
        True,
    ),
    "received, dropped later": (
        [begin(), piece(0, OUTPUT)],
        Part(),
        record(OUTPUT, [(0, 40)], sha256_from=40),
        False,
    ),
    "damaged after the end": (
        [begin(), piece(0, OUTPUT[:10]), hole(10, 30, "damaged"), piece(30, OUTPUT[30:])],
        Part(),
        record(OUTPUT),
        False,
    ),
    "from the middle": ([begin(5), piece(5, OUTPUT[5:])], Part(offset=5), record(OUTPUT), False),
    "no digest": (
        [begin(), piece(0, OUTPUT)],
        Part(),
        record(OUTPUT, output_sha256=""),
        False,
    ),
}


@pytest.mark.parametrize("case", PIECES)
async def test_a_digest_is_compared_where_it_is_of_what_was_received(case: str) -> None:
    """Everywhere else it says why not, and is never a false alarm."""
    steps, part, end, verified = PIECES[case]
    _, follower, _ = await followed([*steps, end], part=part)
    assert follower.verdict.verified is verified
    assert bool(follower.verdict.why) is not verified


@given(st.data())
def test_no_program_of_gaps_is_a_false_mismatch(data: st.DataObject) -> None:
    """Whatever the record and the reader miss: verified exactly if both have the same bytes."""
    from penstock.client.verify import Received

    def holes(label: str) -> list[tuple[int, int]]:
        missing = sorted(data.draw(st.sets(st.integers(0, 19)), label=label))
        return [(at, at + 1) for at in missing]

    output = bytes(range(20))
    told, recorded = holes("told"), holes("recorded")
    if data.draw(st.booleans()):
        recorded = told
    received = Received(0)
    received.begin(begin())
    for at in range(20):
        received.take(hole(at, at + 1) if (at, at + 1) in told else piece(at, output[at : at + 1]))
    end = record(output, recorded)
    received.take(end)
    assert received.verdict(end.finished).verified == (told == recorded)


def test_pauses_double_up_to_the_longest_and_begin_anew_after_progress() -> None:
    """Half of each is left to chance."""
    backoff = Backoff(1000.0, jitter=partial(float, 1.0))
    pauses = [backoff.pause_s(0.0) for _ in range(8)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    backoff.progress()
    assert (backoff.pause_s(0.0), backoff.pause_s(0.0, at_least_s=60)) == (0.1, LONGEST_PAUSE_S)
    assert Backoff(9.0, jitter=partial(float, 0.0)).pause_s(0.0) == 0.05
    backoff = Backoff(60.0)
    assert 0.05 <= (backoff.pause_s(0.0) or 0) <= 0.1
    assert backoff.pause_s(59.98) == pytest.approx(0.02)
    assert backoff.pause_s(60.0) is None
