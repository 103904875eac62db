"""A job's output as messages. A chunk is encoded once, however many follow it."""

import math
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

import trio

from ..jobs.job import Job
from ..jobs.output.cursor import Chunk
from ..jobs.output.gaps import Gap
from ..jobs.output.reader import OutputReader
from ..jobs.output.seek import unfinished_characters
from ..jobs.output.segment import StreamNumber
from ..proto import command_pb2 as pb
from ..text.stream_decoder import REPLACEMENT, decode
from .convert import STREAMS, end_message, gap_message, job_message
from .parse import Wish

# Followers of one job are a few chunks apart; those who read what is old have it encoded anew.
_CACHE_BYTES: Final = 8 * 1024 * 1024
_FRAME_OVERHEAD_BYTES: Final = 400  # its key, its objects


@dataclass(frozen=True, slots=True)
class OutputFrame:
    """An encoded StreamOutputResponse. ``rest``: of a character, for the stream's next frame."""

    stream: StreamNumber
    end: int
    data: bytes
    rest: bytes = b""

    def SerializeToString(self) -> bytes:  # noqa: N802  # protobuf's name
        """As the transport asks a message."""
        return self.data


# The job's id, the offset, and None for raw or the bytes of a character that goes on there.
Key = tuple[str, int, tuple[tuple[StreamNumber, bytes], ...] | None]


class OutputFrames:
    """The last few MiB of frames of all jobs. Plain functions, no checkpoint."""

    def __init__(self, most_bytes: int = _CACHE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self.encoded = 0
        """How many were put."""
        self._frames: OrderedDict[Key, OutputFrame] = OrderedDict()

    def get(self, key: Key) -> OutputFrame | None:
        """The frame, if it is still here."""
        frame = self._frames.get(key)
        if frame is not None:
            self._frames.move_to_end(key)
        return frame

    def put(self, key: Key, frame: OutputFrame) -> None:
        """Remembers it; the longest unused ones make room."""
        self.encoded += 1
        earlier = self._frames.pop(key, None)
        if earlier is not None:
            self._bytes -= len(earlier.data) + _FRAME_OVERHEAD_BYTES
        self._frames[key] = frame
        self._bytes += len(frame.data) + _FRAME_OVERHEAD_BYTES
        while self._bytes > self._most_bytes:
            _, oldest = self._frames.popitem(last=False)
            self._bytes -= len(oldest.data) + _FRAME_OVERHEAD_BYTES

    def statistics(self) -> dict[str, int]:
        """frames and bytes, for tests and for the curious."""
        return {"frames": len(self._frames), "bytes": self._bytes}


async def messages(
    job: Job, reader: OutputReader, wish: Wish, frames: OutputFrames
) -> AsyncGenerator[pb.StreamOutputResponse | OutputFrame, None]:
    """The stream of one reader, which stays the caller's to close.

    First the job; then every byte in a chunk or in a gap; the end record once it is durable
    and all before it was told.

    No checkpoint for most messages that are there: see OutputReader.wait_ready.

    Cancellation: minimum cleanup; C1, C10.
    """
    yield pb.StreamOutputResponse(
        job=job_message(job), offset=reader.offset, next_offset=reader.offset
    )
    unfinished: dict[StreamNumber, bytes] = {}
    if not wish.raw:
        begun = await unfinished_characters(job.log, reader.offset)
        unfinished = {stream: rest for stream, rest in begun.items() if stream in reader.streams}
    beat_at = trio.current_time() + wish.heartbeat_s
    while True:
        ready = await _ready_until(reader, beat_at)
        if ready is None:
            yield pb.StreamOutputResponse(
                heartbeat=True, offset=reader.offset, next_offset=reader.offset
            )
            beat_at = trio.current_time() + wish.heartbeat_s
            continue
        if not ready:
            break
        state = None if wish.raw else tuple(sorted(unfinished.items()))
        frame = frames.get((job.id, reader.offset, state))
        if frame is not None and job.log.segment_at(reader.offset) is None:
            frame = None  # dropped meanwhile: a gap from now on, though somebody has had it
        if frame is not None and reader.skip(frame.end):
            if frame.stream not in reader.streams:
                continue
        else:
            piece = reader.take()
            if piece is None:
                continue
            if isinstance(piece, Gap):
                for message in _broken_off(unfinished, piece.start):
                    yield message
                unfinished = {}
                yield pb.StreamOutputResponse(
                    gap=gap_message(piece), offset=piece.start, next_offset=piece.end
                )
                beat_at = trio.current_time() + wish.heartbeat_s
                continue
            rest = None if wish.raw else unfinished.get(piece.stream, b"")
            frame = _encoded(piece, rest)
            # Where it begins, which is not where we stood if other streams were passed over.
            frames.put((job.id, piece.offset, state), frame)
        if not wish.raw:
            unfinished = unfinished | {frame.stream: frame.rest}
            if not frame.rest:
                del unfinished[frame.stream]
        if frame.data:
            yield frame
            if wish.heartbeat_s != math.inf:
                beat_at = trio.current_time() + wish.heartbeat_s
    if job.end is not None and reader.at_end:
        for message in _broken_off(unfinished, reader.offset):
            yield message
        yield pb.StreamOutputResponse(
            finished=end_message(job.end), offset=reader.offset, next_offset=reader.offset
        )


async def _ready_until(reader: OutputReader, deadline: float) -> bool | None:
    """None: nothing that was asked for has come until then."""
    if not reader.must_wait:
        if deadline < math.inf and trio.current_time() >= deadline:
            return None  # others write, and this reader passes over what they write
        return await reader.wait_ready()
    # Scope S3.heartbeat.
    with trio.move_on_at(deadline):
        return await reader.wait_ready()
    return None


def _encoded(chunk: Chunk, rest: bytes | None) -> OutputFrame:
    """``rest`` None: raw. A chunk that completes no character makes a frame without data."""
    message = pb.StreamOutputResponse(
        stream=STREAMS[chunk.stream],
        offset=chunk.offset,
        time_ns=chunk.time_ns,
        next_offset=chunk.end,
    )
    if rest is None:
        message.data = chunk.data
        return OutputFrame(chunk.stream, chunk.end, message.SerializeToString())
    message.output, rest = decode(rest + chunk.data)
    data = message.SerializeToString() if message.output else b""
    return OutputFrame(chunk.stream, chunk.end, data, rest)


def _broken_off(
    unfinished: dict[StreamNumber, bytes], offset: int
) -> list[pb.StreamOutputResponse]:
    """Characters that will never be whole."""
    return [
        pb.StreamOutputResponse(
            stream=STREAMS[stream], output=REPLACEMENT, offset=offset, next_offset=offset
        )
        for stream in unfinished
    ]
