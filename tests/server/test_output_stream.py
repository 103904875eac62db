"""A stream's messages: where it begins, what it leaves out, what is encoded once for all."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from fake_backend import FakeBackend
from fake_disk import STDOUT_PIPE, FakeDisk

from penstock.jobs.backends.base import JobSpec, Verdict
from penstock.jobs.job import Job
from penstock.jobs.manager import Manager, open_manager
from penstock.jobs.output.cursor import CHUNK_BYTES
from penstock.jobs.output.output_log import OutputLog
from penstock.jobs.output.output_quota import OutputBound
from penstock.jobs.output.reader import OutputReader
from penstock.jobs.retention_settings import RetentionSettings
from penstock.proto import command_pb2 as pb
from penstock.rpc.call_errors import RpcError, StatusCode
from penstock.server.output_stream import OutputFrame, OutputFrames, messages
from penstock.server.parse import Wish, streams_of, wish_of


@asynccontextmanager
async def running(
    tmp_path: Path, keep: RetentionSettings | None = None
) -> AsyncIterator[tuple[Manager, Job, FakeBackend]]:
    backend = FakeBackend()
    async with open_manager(backend, str(tmp_path / "state"), keeping=keep) as manager:
        yield manager, await manager.start("alice", JobSpec("sleep")), backend


async def write(backend: FakeBackend, job: Job, data: bytes, stream: int = 1) -> None:
    """Returns when it is in the log."""
    before = job.output_length
    with job.read_output(before) as reader:
        backend.jobs[job.id].write(data, stream)
        while job.output_length < before + len(data):
            await anext(reader)


async def stream(
    job: Job,
    frames: OutputFrames,
    *,
    offset: int = 0,
    raw: bool = False,
    follow: bool = True,
    streams: tuple[pb.Stream, ...] = (),
) -> list[pb.StreamOutputResponse]:
    """All messages of one stream, as a client gets them."""
    request = pb.StreamOutputRequest(streams=streams)
    with job.read_output(offset, follow, streams_of(request)) as reader:
        return [
            pb.StreamOutputResponse.FromString(message.SerializeToString())
            async for message in messages(job, reader, Wish(raw=raw), frames)
        ]


async def test_every_message_says_where_to_go_on(tmp_path: Path) -> None:
    """From each next_offset the rest comes, and nothing twice."""
    frames = OutputFrames()
    async with running(tmp_path) as (_, job, backend):
        for part in (b"one ", b"two ", b"three"):
            await write(backend, job, part, 1 if part != b"two " else 2)
        backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
        found = await stream(job, frames, raw=True)
        data = b"".join(message.data for message in found)
        assert data == b"one two three"
        for message in found:
            rest = await stream(job, frames, offset=message.next_offset, raw=True)
            assert b"".join(each.data for each in rest) == data[message.next_offset :]
        assert found[-1].finished.output_bytes == found[-1].next_offset == len(data)


async def test_text_cut_anywhere_is_whole_after_a_resume(tmp_path: Path) -> None:
    """A character that was cut by its write, by stderr in between, and by the resume."""
    frames = OutputFrames()
    text = "a\u00e9\u20ac\U0001f600z"
    data = text.encode()
    async with running(tmp_path) as (_, job, backend):
        for byte in data:
            await write(backend, job, bytes([byte]))
            await write(backend, job, b"!", 2)
        backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
        found = await stream(job, frames)
        out = [m.output for m in found if m.stream == pb.STREAM_STDOUT]
        assert "".join(out) == text
        for cut in range(len(found) - 1):
            before = [m.output for m in found[: cut + 1] if m.stream == pb.STREAM_STDOUT]
            rest = await stream(job, frames, offset=found[cut].next_offset)
            after = [m.output for m in rest if m.stream == pb.STREAM_STDOUT]
            assert "".join(before + after) == text


async def test_half_a_character_at_the_end_is_said_once_the_job_has_ended(tmp_path: Path) -> None:
    """U+FFFD stands for it then, and not while the job may still complete it."""
    frames = OutputFrames()
    async with running(tmp_path) as (_, job, backend):
        await write(backend, job, b"x\xe2\x82")
        found = await stream(job, frames, follow=False)
        assert "".join(message.output for message in found) == "x"
        backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
        found = await stream(job, frames)
        assert "".join(message.output for message in found) == "x\ufffd"


async def test_half_a_character_before_a_gap_is_said(tmp_path: Path) -> None:
    """Its rest is in the gap."""
    keep = RetentionSettings(lambda _: OutputBound(131_072, "drop_newest"))
    async with running(tmp_path, keep) as (_, job, backend):
        for _ in range(2):
            await write(backend, job, b"y" * 60_000)
        await write(backend, job, b"\xe2\x82" * 6_000)
        for _ in range(3):
            backend.jobs[job.id].write(b"y" * 60_000)
            await trio.testing.wait_all_tasks_blocked(0.01)
        backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
        found = await stream(job, OutputFrames())
        (at,) = [number for number, message in enumerate(found) if message.HasField("gap")]
        assert found[at].gap.reason == "quota"
        assert found[at - 1].output.endswith("\ufffd")
        assert found[at].gap.to_offset == job.output_length


async def test_only_the_streams_that_were_asked_for(tmp_path: Path) -> None:
    """The other one's bytes are passed over, and offsets say so."""
    frames = OutputFrames()
    async with running(tmp_path) as (_, job, backend):
        for number in range(6):
            await write(backend, job, b"%d" % number, 1 + number % 2)
        backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
        await stream(job, frames, raw=True)  # all frames are there for the next one
        for cached in (frames, OutputFrames()):
            found = await stream(job, cached, raw=True, streams=(pb.STREAM_STDERR,))
            assert [(m.offset, m.data) for m in found if m.data] == [
                (1, b"1"),
                (3, b"3"),
                (5, b"5"),
            ]
            assert found[-1].finished.output_bytes == 6


@pytest.mark.mock_clock
async def test_a_heartbeat_comes_when_nothing_else_does(tmp_path: Path) -> None:
    """Each so many seconds, with the offset to go on from; in virtual time, nothing is read."""
    disk = FakeDisk()
    log = OutputLog.create("/log", disk=disk)
    job = Job("a" * 32, 1, "alice", JobSpec("sleep"), "hash", log, OutputBound())
    disk.pipes[STDOUT_PIPE] += b"first"
    log.move(STDOUT_PIPE, 1)
    begin = trio.current_time()
    with OutputReader(log) as reader:
        async with aclosing(messages(job, reader, Wish(True, 20.0), OutputFrames())) as found:
            await anext(found)
            assert isinstance(await anext(found), OutputFrame)
            for number in (1, 2):
                beat = await anext(found)
                assert isinstance(beat, pb.StreamOutputResponse)
                assert (beat.heartbeat, beat.next_offset) == (True, 5)
                assert trio.current_time() - begin == pytest.approx(20.0 * number)
    log.finish()


@pytest.mark.parametrize("raw", [True, False])
async def test_a_chunk_is_encoded_once_for_all_its_readers(tmp_path: Path, raw: bool) -> None:
    """Fifty followers of the same bytes make as many frames as one; memory stays bounded."""
    frames = OutputFrames(most_bytes=400_000)
    async with running(tmp_path) as (_, job, backend):
        followers: list[list[pb.StreamOutputResponse]] = []

        async def follow() -> None:
            followers.append(await stream(job, frames, raw=raw))

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(follow)
            for number in range(10):
                await write(backend, job, bytes([number]) * 30_000)
            backend.jobs[job.id].end(Verdict("exited", 0))
        texts = {
            b"".join(each.data or each.output.encode() for each in found) for found in followers
        }
        assert texts == {b"".join(bytes([number]) * 30_000 for number in range(10))}
        assert frames.encoded < (3 if raw else 6) * 10
        assert frames.statistics()["bytes"] <= 400_000


async def test_a_character_that_a_chunk_cuts_is_not_kept_for_others(tmp_path: Path) -> None:
    """Readers that begin at any byte share frames, and each has the text of its own beginning."""
    frames = OutputFrames()
    async with running(tmp_path) as (_, job, backend):
        for _ in range(5):
            await write(backend, job, ("\N{EURO SIGN}" * 10_000).encode())
        backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
        for offset in (0, 1, 2, 3, 0, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 0):
            found = await stream(job, frames, offset=offset)
            text = "".join(each.output for each in found)
            assert text == "\N{EURO SIGN}" * len(text)
            assert len(text) == 50_000 - offset // 3


async def test_all_come_to_the_same_chunks(tmp_path: Path) -> None:
    """Whoever begins anywhere has whole chunks from the next multiple on."""
    async with running(tmp_path) as (_, job, backend):
        for _ in range(5):
            await write(backend, job, b"z" * 60_000)
        backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
        ends = []
        for offset in (0, 1, 70_000):
            found = await stream(job, OutputFrames(), offset=offset, raw=True)
            ends.append({message.next_offset for message in found if message.data})
        assert ends[0] >= ends[1] >= ends[2]
        assert CHUNK_BYTES in ends[1]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.StreamOutputRequest(offset=1, tail_lines=1), "tail_lines"),
        (pb.StreamOutputRequest(tail_lines=1, since_ns=1), "since_ns"),
        (pb.StreamOutputRequest(since_ns=-1), "since_ns"),
        (pb.StreamOutputRequest(heartbeat_s=0.01), "heartbeat_s"),
        (pb.StreamOutputRequest(heartbeat_s=-1), "heartbeat_s"),
        (pb.StreamOutputRequest(heartbeat_s=float("nan")), "heartbeat_s"),
        (pb.StreamOutputRequest.FromString(b"\x40\x07"), "streams"),
    ],
)
def test_wishes_that_make_no_sense(request_: pb.StreamOutputRequest, field: str) -> None:
    """INVALID_ARGUMENT that names the field."""

    def check() -> None:
        wish_of(request_)
        streams_of(request_)

    with pytest.raises(RpcError, match=field.removesuffix("s")) as caught:
        check()
    assert caught.value.code is StatusCode.INVALID_ARGUMENT


async def test_a_frame_whose_bytes_were_dropped_is_not_sent(tmp_path: Path) -> None:
    """Somebody has had it before; who comes now has a gap, as the record of the job says."""
    frames = OutputFrames()
    keep = RetentionSettings(lambda _: OutputBound(131_072))
    async with running(tmp_path, keep) as (_, job, backend):
        await write(backend, job, b"a" * 10_000)
        backend.jobs[job.id].end(Verdict("exited", 0))
        await job.wait_finished()
        assert b"".join([each.data for each in await stream(job, frames, raw=True)])
        kept = frames.statistics()
        job.log.remove()
        found = await stream(job, frames, raw=True)
        assert [each.data for each in found if each.data] == []
        (gap,) = [each for each in found if each.HasField("gap")]
        assert (gap.offset, gap.next_offset) == (0, 10_000)
        assert frames.statistics() == kept


def test_frames_that_were_used_longest_ago_make_room() -> None:
    """By their bytes and what each costs besides; one that is put again counts once."""
    frames = OutputFrames(most_bytes=2_500)
    keys = [("job", offset, False) for offset in range(4)]
    for key in keys[:2]:
        frames.put(key, OutputFrame(1, 0, 1, b"x" * 600))
    assert frames.get(keys[0]) is not None
    before = frames.statistics()
    frames.put(keys[0], OutputFrame(1, 0, 1, b"x" * 600))
    assert frames.statistics() == before
    for key in keys[2:]:
        frames.put(key, OutputFrame(1, 0, 1, b"x" * 600))
    assert frames.statistics()["bytes"] <= 2_500
    assert frames.get(keys[1]) is None
    assert frames.get(keys[3]) is not None


async def test_bytes_from_a_frame_end_where_the_stream_was_to_end(tmp_path: Path) -> None:
    """Who does not follow gets what was there when it began, not the longer frame of another."""
    frames = OutputFrames()
    async with running(tmp_path) as (_, job, backend):
        await write(backend, job, b"first ")
        with job.read_output(0, follow=False) as reader:
            await write(backend, job, b"second")
            await stream(job, frames, raw=True, follow=False)
            found = [
                pb.StreamOutputResponse.FromString(message.SerializeToString())
                async for message in messages(job, reader, Wish(raw=True), frames)
            ]
        assert b"".join(each.data for each in found) == b"first "
