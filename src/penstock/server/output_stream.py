"""A job's output as messages. A chunk's message is encoded once, however many follow it.

Text is made of raw messages. What a reader of text gets depends on where it began and which streams
it asked for, which its ``TextDecoder`` alone knows. But of a chunk that neither begins nor ends
within a character the text is the same for all, so that it is kept like raw bytes are.
"""

import math
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from ..jobs.job import Job
from ..jobs.output.cursor import Chunk
from ..jobs.output.gaps import Gap
from ..jobs.output.reader import OutputReader
from ..jobs.output.seek import unfinished_characters
from ..jobs.output.segment_index import StreamNumber
from ..proto import command_pb2 as pb
from ..text.stream_decoder import REPLACEMENT, TextDecoder
from .convert import STREAMS, end_message, gap_message, job_message
from .parse import Wish

# Small, because followers of one job are a few chunks apart; for a reader of old output it is
# encoded anew.
_CACHE_BYTES: Final = 8 * 1024 * 1024
_FRAME_OVERHEAD_BYTES: Final = 400  # its key, its objects


@dataclass(frozen=True, slots=True)
class OutputFrame:
    """An encoded StreamOutputResponse of one stream, of the bytes from ``start`` up to ``end``."""

    stream: StreamNumber
    start: int
    end: int
    data: bytes

    def SerializeToString(self) -> bytes:  # noqa: N802  # protobuf's name
        """The encoded bytes, under the name by which the transport asks a message for them."""
        return self.data


Message = pb.StreamOutputResponse | OutputFrame
Key = tuple[str, int, bool]
"""The job's id, the offset of the frame's first byte, and whether it is of text."""


class OutputFrames:
    """The last few MiB of frames of all jobs. Plain functions, no checkpoint."""

    def __init__(self, most_bytes: int = _CACHE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self.encoded = 0
        """How many were put."""
        self._frames: OrderedDict[Key, OutputFrame] = OrderedDict()

    def get(self, key: Key) -> OutputFrame | None:
        """The frame, or None if it was dropped; marks it as used."""
        frame = self._frames.get(key)
        if frame is not None:
            self._frames.move_to_end(key)
        return frame

    def put(self, key: Key, frame: OutputFrame) -> None:
        """Remembers the frame; drops the longest unused ones if there are too many bytes."""
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
        """The number of frames and their bytes, for tests and measurements."""
        return {"frames": len(self._frames), "bytes": self._bytes}


async def messages(
    job: Job, reader: OutputReader, wish: Wish, frames: OutputFrames
) -> AsyncGenerator[Message, None]:
    """The stream of one reader, which stays the caller's to close.

    First the job; then every byte in a chunk or in a gap; the end record once it is durable
    and all output before it was sent.

    No checkpoint for most messages that are there: see OutputReader.wait_ready.

    Cancellation: minimum cleanup; C1, C10.
    """
    yield pb.StreamOutputResponse(
        job=job_message(job), offset=reader.offset, next_offset=reader.offset
    )
    text = None if wish.raw else await _decoder(job, reader)
    beat_at = trio.current_time() + wish.heartbeat_s
    while (ready := await _ready_until(reader, beat_at)) is not False:
        found = [_heartbeat(reader.offset)] if ready is None else _next(job, reader, frames, text)
        for message in found:
            yield message
        if found and wish.heartbeat_s != math.inf:
            beat_at = trio.current_time() + wish.heartbeat_s
    if job.end is not None and reader.at_end:
        for message in _broken_off(text, reader.offset):
            yield message
        yield pb.StreamOutputResponse(
            finished=end_message(job.end), offset=reader.offset, next_offset=reader.offset
        )


async def _decoder(job: Job, reader: OutputReader) -> TextDecoder[StreamNumber]:
    """A decoder in the state of one that has read from the first byte on, so that a reader may
    begin within a character."""
    begun = await unfinished_characters(job.log, reader.offset)
    return TextDecoder({stream: rest for stream, rest in begun.items() if stream in reader.streams})


async def _ready_until(reader: OutputReader, deadline: float) -> bool | None:
    """As wait_ready; None if no wanted output has come before the deadline."""
    if not reader.must_wait:
        if deadline < math.inf and trio.current_time() >= deadline:
            return None  # only streams that this reader passes over have output
        return await reader.wait_ready()
    # Scope S3.heartbeat.
    with trio.move_on_at(deadline):
        return await reader.wait_ready()
    return None


def _next(
    job: Job, reader: OutputReader, frames: OutputFrames, text: TextDecoder[StreamNumber] | None
) -> Sequence[Message]:
    """The messages of what is at the reader's offset, which moves behind it; none if the client did
    not ask for that stream, or if it completes no character."""
    piece = _take(job, reader, frames)
    if piece is None:
        return ()
    if isinstance(piece, Gap):
        gap = pb.StreamOutputResponse(
            gap=gap_message(piece), offset=piece.start, next_offset=piece.end
        )
        return [*_broken_off(text, piece.start), gap]
    return (piece,) if text is None else _as_text(job.id, piece, text, frames)


def _take(job: Job, reader: OutputReader, frames: OutputFrames) -> OutputFrame | Gap | None:
    """From ``frames``, if another reader has had it before; otherwise from the log."""
    frame = frames.get((job.id, reader.offset, False))
    # A range that was dropped meanwhile is a gap, even if its frame is still there, so that
    # all readers see the same from now on.
    is_there = frame is not None and job.log.segment_at(reader.offset) is not None
    if frame is not None and is_there and reader.skip(frame.end):
        return frame if frame.stream in reader.streams else None
    piece = reader.take()
    if not isinstance(piece, Chunk):
        return piece
    frame = _encoded(piece)
    # Where it begins, which is not where the reader stood if other streams were passed over.
    frames.put((job.id, piece.offset, False), frame)
    return frame


def _encoded(chunk: Chunk) -> OutputFrame:
    message = pb.StreamOutputResponse(
        stream=STREAMS[chunk.stream],
        data=chunk.data,
        offset=chunk.offset,
        time_ns=chunk.time_ns,
        next_offset=chunk.end,
    )
    return OutputFrame(chunk.stream, chunk.offset, chunk.end, message.SerializeToString())


def _as_text(
    job_id: str, frame: OutputFrame, text: TextDecoder[StreamNumber], frames: OutputFrames
) -> Sequence[Message]:
    key = (job_id, frame.start, True)
    begins_whole = not text.held_bytes(frame.stream)
    kept = frames.get(key) if begins_whole else None
    if kept is not None and kept.end == frame.end:
        return (kept,)
    message = pb.StreamOutputResponse.FromString(frame.data)
    message.output = text.feed(frame.stream, message.data)
    message.ClearField("data")
    if begins_whole and not text.held_bytes(frame.stream):
        whole = OutputFrame(frame.stream, frame.start, frame.end, message.SerializeToString())
        frames.put(key, whole)
        return (whole,)
    return (message,) if message.output else ()


def _heartbeat(offset: int) -> pb.StreamOutputResponse:
    return pb.StreamOutputResponse(heartbeat=True, offset=offset, next_offset=offset)


def _broken_off(
    text: TextDecoder[StreamNumber] | None, offset: int
) -> list[pb.StreamOutputResponse]:
    """A replacement for each character whose rest is missing."""
    return [
        pb.StreamOutputResponse(
            stream=STREAMS[stream], output=REPLACEMENT, offset=offset, next_offset=offset
        )
        for stream in (text.break_off() if text is not None else ())
    ]
