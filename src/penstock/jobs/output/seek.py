"""Finds where in a log to begin: so many lines before the end, or at a time."""

import codecs
import itertools
import re
from collections.abc import Collection
from typing import Final

import trio

from ...concurrency.interrupts import uninterrupted
from .cursor import BOTH, CHUNK_BYTES, Chunk, Cursor
from .output_log import OutputLog
from .segment_index import StreamNumber

_LOOK_BACK_BYTES: Final = (4096, 65_536)
# A run can be a single byte, and finding and reading one takes some 15 us: a millisecond.
_PIECES_PER_CHECKPOINT: Final = 64
_LONGEST_CHARACTER: Final = 4
_LINE_END: Final = re.compile(rb"\n|\r(?!\n)")


@uninterrupted
async def seek_lines(log: OutputLog, count: int, streams: Collection[StreamNumber] = BOTH) -> int:
    """The offset at which the last ``count`` lines of these streams begin; for 0 the end.

    A carriage return ends a line as a line feed does, and both together are one end. So each state
    of a progress bar is a line; otherwise a caller could not get the last one without all of them.
    A last line without its end counts. Where fewer lines are kept, it is the first offset that is
    kept. Reads backwards from the end at the time of the call, with a checkpoint every 64 KiB.

    No checkpoint where the last 64 KiB, in a few runs, have as many lines.

    Cancellation: atomic.
    """
    return (await _lines(log, count, streams))[0]


@uninterrupted
async def begin_of_lines(
    log: OutputLog, count: int, streams: Collection[StreamNumber] = BOTH
) -> int:
    """As ``seek_lines``, but 0 where fewer lines are kept and older output is gone, so that the
    reader reports the missing part as a gap.

    No checkpoint where ``seek_lines`` has none.

    Cancellation: atomic.
    """
    offset, all_there = await _lines(log, count, streams)
    return offset if all_there else 0


@uninterrupted
def begin_of_time(log: OutputLog, since_ns: int) -> int:
    """As ``seek_time``, but 0 where nothing is kept from before that time and older output is gone.

    The reader then reports a gap, because whether the missing output is from the time asked for is
    unknown. No checkpoint.
    """
    offset = seek_time(log, since_ns)
    return 0 if offset == log.first else offset


async def _lines(log: OutputLog, count: int, streams: Collection[StreamNumber]) -> tuple[int, bool]:
    """Where the lines begin, and whether so many are kept; the first one may lack its beginning."""
    if count == 0:
        await trio.lowlevel.checkpoint()
        return log.length, True
    end = stop = log.length
    wanted = count
    # By stream, the byte that follows the chunk under the search.
    behind: dict[StreamNumber, bytes] = {}
    last: Chunk | None = None
    while stop > log.first:
        begin = max(log.first, (stop - 1) // CHUNK_BYTES * CHUNK_BYTES)
        for chunk in reversed(await _chunks(log, begin, stop, streams)):
            if last is None:
                last = chunk
                # The end of the last line begins no further one.
                wanted = count + chunk.data.endswith((b"\n", b"\r"))
            following = behind.get(chunk.stream, b"")
            found = _line_ends(chunk.data, following)
            if found >= wanted:
                return chunk.offset + _place_of_end(chunk.data, following, found - wanted), True
            wanted -= found
            behind[chunk.stream] = chunk.data[:1]
        stop = begin
        await trio.lowlevel.checkpoint()
    # One end fewer than lines, because what was before the first one is unknown.
    return log.first if end else 0, last is not None and wanted == 1


def _line_ends(data: bytes, following: bytes) -> int:
    """How many lines end in ``data``; ``following`` is the stream's next byte, if there is one."""
    joined = data.count(b"\r\n") + (data.endswith(b"\r") and following == b"\n")
    return data.count(b"\n") + data.count(b"\r") - joined


def _place_of_end(data: bytes, following: bytes, number: int) -> int:
    """The index behind the line end with that number, from 0, in ``data``."""
    ends = _LINE_END.finditer(data + following)
    return next(itertools.islice(ends, number, None)).end()


async def _chunks(
    log: OutputLog, begin: int, end: int, streams: Collection[StreamNumber]
) -> list[Chunk]:
    cursor = Cursor(log, begin, streams)
    found = []
    pieces = 0
    try:
        while cursor.offset < end:
            pieces += 1
            if pieces % _PIECES_PER_CHECKPOINT == 0:
                await trio.lowlevel.checkpoint()
            piece = cursor.take(end)
            if isinstance(piece, Chunk):
                found.append(piece)
    finally:
        cursor.close()
    return found


@uninterrupted
def seek_time(log: OutputLog, since_ns: int) -> int:
    """The offset of the first byte that was written at ``since_ns`` (UTC) or later. No checkpoint.

    Only runs have times, so up to 5 ms of earlier output may be included. If the clock was set back
    meanwhile, it is a place between an earlier and a later time.
    """
    for segment in reversed(log.segments()):
        if segment.end == segment.start:
            continue
        try:
            offset = segment.offset_at(since_ns)
        except OSError:
            continue  # its bytes are a gap, which has no time
        if offset is not None and offset > segment.start:
            return offset
        if offset is None:
            return segment.end
    return log.first


@uninterrupted
async def unfinished_characters(log: OutputLog, offset: int) -> dict[StreamNumber, bytes]:
    """By stream, the first bytes of a UTF-8 character that continues at ``offset`` or later.

    Three bytes of the stream before ``offset`` decide it, so every reader gets the same text from
    the same place on. They are searched in the last 64 KiB only. There is a checkpoint every few
    runs, because a job that writes byte by byte has 65,536 of them there.

    No checkpoint where there are fewer.

    Cancellation: atomic; C1.
    """
    tails: dict[StreamNumber, bytes] = {}
    for count in _LOOK_BACK_BYTES:
        tails = await _tails(log, max(0, offset - count), offset)
        if len(tails) == len(BOTH) or count >= offset:
            break
    return {stream: rest for stream, tail in tails.items() if (rest := _unfinished(tail))}


async def _tails(log: OutputLog, begin: int, offset: int) -> dict[StreamNumber, bytes]:
    """The last three bytes of each stream before ``offset``, since the last gap."""
    tails: dict[StreamNumber, bytes] = {}
    cursor = Cursor(log, begin)
    pieces = 0
    try:
        while cursor.offset < offset:
            pieces += 1
            if pieces % _PIECES_PER_CHECKPOINT == 0:
                await trio.lowlevel.checkpoint()
            piece = cursor.take(offset)
            if isinstance(piece, Chunk):
                tail = tails.get(piece.stream, b"") + piece.data[-_LONGEST_CHARACTER:]
                tails[piece.stream] = tail[-_LONGEST_CHARACTER + 1 :]
            else:
                tails.clear()
    finally:
        cursor.close()
    return tails


def _unfinished(tail: bytes) -> bytes:
    for begin in range(len(tail)):
        rest = tail[begin:]
        # Only from a first byte on, because a continuation byte begins no character.
        if rest[0] >= 0xC0 and codecs.utf_8_decode(rest, "replace", False)[1] == 0:
            return rest
    return b""
