"""A place in a log, and what is there: chunks of one stream, or gaps."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from ..job_errors import Unavailable
from .gaps import Gap
from .output_log import OutputLog
from .recovery import SHORTAGES
from .segment import Segment
from .segment_index import StreamNumber

# Not 64 KiB, so that with a message's fields and prefix it fits an HTTP/2 frame of that size.
CHUNK_BYTES: Final = 63 * 1024
BOTH: Final[frozenset[StreamNumber]] = frozenset((1, 2))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive bytes of one stream. ``time_ns``: UTC, when their run began."""

    stream: StreamNumber
    offset: int
    time_ns: int
    data: bytes

    @property
    def end(self) -> int:
        """The offset after the last byte."""
        return self.offset + len(self.data)


class Cursor:
    """Reads from ``offset`` on, which the owner may set. Keeps one segment's files open, so the
    owner must close it."""

    def __init__(
        self, log: OutputLog, offset: int, streams: Collection[StreamNumber] = BOTH
    ) -> None:
        self.offset = offset
        self._log = log
        self.streams = streams
        self._segment: Segment | None = None
        self._position = 0

    def take(self, end: int) -> Chunk | Gap | None:
        """Returns what is at the offset, which is below ``end``, and moves behind it.

        Chunks end at multiples of CHUNK_BYTES, so that all readers get equal chunks. None: a run of
        another stream was skipped. Bytes that the disk cannot read back are a gap. Raises
        Unavailable where this process lacks descriptors or memory.
        """
        segment = self._log.segment_at(self.offset)
        if segment is not self._segment:
            self._leave()
        if segment is None:
            return self._gap(self._log.missing_at(self.offset), end)
        end = min(end, segment.end)
        try:
            self._enter(segment)
            run = segment.locate(self.offset, self._position)
            self._position = run.position
            end = min(end, run.end)
            if run.stream is not None and run.stream not in self.streams:
                self.offset = end
                return None
            if run.stream is not None:
                end = min(end, (self.offset // CHUNK_BYTES + 1) * CHUNK_BYTES)
                data = segment.read(self.offset, end - self.offset)
                if data:
                    chunk = Chunk(run.stream, self.offset, run.time_ns, data)
                    self.offset = chunk.end
                    return chunk
        except OSError as error:
            if error.errno in SHORTAGES:
                raise Unavailable("the server has no free descriptors; try again") from error
            # The disk cannot read it back, so it is damaged, as bytes that were cut are.
        return self._gap(Gap(self.offset, end, "damaged"), end)

    def _gap(self, gap: Gap, end: int) -> Gap:
        gap = Gap(gap.start, min(gap.end, end), gap.reason)
        self.offset = gap.end
        return gap

    def _enter(self, segment: Segment) -> None:
        if self._segment is None:
            segment.acquire()
            self._segment = segment
            self._position = 0

    def _leave(self) -> None:
        if self._segment is not None:
            self._segment.release()
            self._segment = None

    def close(self) -> None:
        """Closes the segment's files. Idempotent; no checkpoint."""
        self._leave()
