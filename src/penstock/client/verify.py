"""Checks what was received of a job's output: no hole, and the end record's digest (pure).

The rules are those of StreamOutputResponse in command.proto: every byte of a stream of all
streams is in a chunk or in a gap, and each message begins where the one before it has ended.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from ..proto import command_pb2 as pb

_SHA256: Final = re.compile(r"([0-9a-f]{64})?", re.ASCII)
_KINDS: Final = ("job", "gap", "finished")

Span = tuple[int, int]
"""Bytes [start, end)."""


class OutputBroken(Exception):
    """What came cannot be the job's output; the text says where. None of it was delivered.

    The fault is the server's, or of something between. Reading again from the last good offset may
    help; reading on after it would lose or repeat bytes instead.
    """


class EndMissing(OutputBroken):
    """The stream has ended in order, but without the job's end record."""


class DigestMismatch(OutputBroken):
    """All bytes came, and they are not those of the end record, which is in ``end``."""

    def __init__(self, message: str, end: pb.EndRecord) -> None:
        super().__init__(message)
        self.end = end


class OutputVerdict(NamedTuple):
    """Whether the bytes are proven to be those that the job wrote.

    Not ``verified`` means that they could not be compared, never that they differ (that is
    DigestMismatch); ``why`` says what was missing.
    """

    verified: bool
    why: str = ""


class Received:
    """Takes each message of a stream, over any number of connections, and keeps count.

    Every method may raise OutputBroken; after that the object is of no more use.
    """

    def __init__(self, offset: int | None, streams: Collection[int] = ()) -> None:
        """``offset`` None: the stream begins where the server says. ``streams`` empty: all."""
        self.next_offset = offset or 0
        self.job: pb.Job | None = None
        self._streams = frozenset(streams)
        self._first = offset
        self._gaps: list[Span] = []
        self._digest = hashlib.sha256()

    def begin(self, message: pb.StreamOutputResponse) -> None:
        """The first message of a connection: the job, and where its stream begins."""
        if self._kind(message) != "job":
            raise OutputBroken("the stream does not begin with its job")
        if self._first is None:
            self._first = self.next_offset = message.offset
        if message.offset != self.next_offset or message.next_offset != message.offset:
            raise OutputBroken(
                f"the stream begins at byte {message.offset}, but byte {self.next_offset} "
                "was asked for"
            )
        if self.job is None:
            self.job = message.job
        elif (self.job.handle, self.job.started_ns) != (message.job.handle, message.job.started_ns):
            raise OutputBroken(
                f"the server now means another job by {self.job.handle}: it was started at "
                f"another time, so this would not be the rest of the same output"
            )

    def take(self, message: pb.StreamOutputResponse) -> str:
        """Any later message; returns its kind: data, gap, finished, heartbeat, or "" for one that
        this version does not know."""
        kind = self._kind(message)
        match kind:
            case "data":
                end = message.offset + len(message.data)
                if self._streams and message.stream not in self._streams:
                    raise OutputBroken(f"byte {message.offset} is of a stream nobody asked for")
                self._advance(message, message.offset, end)
                if not self._streams:
                    self._digest.update(message.data)
            case "gap":
                gap = (message.gap.from_offset, message.gap.to_offset)
                if gap[0] >= gap[1]:
                    raise OutputBroken(f"a gap of bytes {gap[0]} to {gap[1]} is none")
                self._advance(message, *gap)
                self._gaps.append(gap)
            case "finished":
                self._advance(message, message.offset, message.offset)
                self._check_record(message.finished)
            case "heartbeat":
                self._advance(message, message.offset, message.offset)
            case "job":
                raise OutputBroken("the job came twice in one stream")
        return kind

    def verdict(self, end: pb.EndRecord) -> OutputVerdict:
        """Compares with the end record, which ``take`` has had. Raises DigestMismatch.

        Compares only if exactly those bytes were received that the log had at the job's end,
        because the digest is of them; otherwise the verdict says why it is not ``verified``.
        """
        if self._streams:
            return OutputVerdict(False, "only some of the streams were asked for")
        if not end.output_sha256:
            return OutputVerdict(False, "the server does not know the digest")
        recorded = [(gap.from_offset, gap.to_offset) for gap in end.gaps]
        received = _without((self._first or 0, self.next_offset), self._gaps)
        digested = _without((end.sha256_from, end.sha256_to), recorded)
        if (at := _first_outside(digested, received)) is not None:
            return OutputVerdict(False, f"byte {at}, which the digest covers, was not received")
        if (at := _first_outside(received, digested)) is not None:
            return OutputVerdict(
                False, f"byte {at}, which was received, was not kept for the digest"
            )
        found = self._digest.hexdigest()
        if found != end.output_sha256:
            raise DigestMismatch(
                f"the {sum(to - start for start, to in received)} bytes that were received have "
                f"the SHA-256 {found}, and the job's end record says {end.output_sha256}: they "
                "were changed on the server's disk or on the way; read them again, and if that "
                "does not help, the server's disk has damaged them",
                end,
            )
        return OutputVerdict(True)

    def _kind(self, message: pb.StreamOutputResponse) -> str:
        if message.output or message.error:
            raise OutputBroken("the server sent text, although exact bytes were asked for")
        kinds = [kind for kind in _KINDS if message.HasField(kind)]
        if message.data:
            kinds.append("data")
        if message.heartbeat:
            kinds.append("heartbeat")
        if len(kinds) > 1:
            raise OutputBroken(f"one message is {' and '.join(kinds)} at once")
        return kinds[0] if kinds else ""

    def _advance(self, message: pb.StreamOutputResponse, start: int, end: int) -> None:
        if message.offset != start or message.next_offset != end:
            raise OutputBroken(
                f"a message of bytes {start} to {end} says that it is of bytes "
                f"{message.offset} to {message.next_offset}"
            )
        # A message may lie ahead only if other streams are passed over, and never behind.
        if start < self.next_offset or (start > self.next_offset and not self._streams):
            raise OutputBroken(f"byte {start} came where byte {self.next_offset} was due")
        self.next_offset = end

    def _check_record(self, end: pb.EndRecord) -> None:
        if end.output_bytes != self.next_offset:
            raise OutputBroken(
                f"the end record says that the job wrote {end.output_bytes} bytes, and the "
                f"stream ended at byte {self.next_offset}"
            )
        if not _SHA256.fullmatch(end.output_sha256):
            raise OutputBroken("the end record's SHA-256 is none")
        edges = [end.sha256_from, end.sha256_to, end.output_bytes]
        if edges != sorted(edges):
            raise OutputBroken("the end record's SHA-256 is of bytes that the job did not write")
        at = 0
        for gap in end.gaps:
            if not at <= gap.from_offset < gap.to_offset <= end.output_bytes:
                raise OutputBroken(
                    f"the end record's gap of bytes {gap.from_offset} to {gap.to_offset} is none"
                )
            at = gap.to_offset


def _without(whole: Span, gaps: Iterable[Span]) -> list[Span]:
    """What is left of a span, as spans that do not touch. ``gaps`` are in order."""
    left = []
    start, end = whole
    for gap_start, gap_end in gaps:
        if gap_start >= end:
            break
        if gap_start > start:
            left.append((start, gap_start))
        start = max(start, gap_end)
    if start < end:
        left.append((start, end))
    return left


def _first_outside(spans: Iterable[Span], others: Sequence[Span]) -> int | None:
    """The first byte of ``spans`` that is in none of ``others``; both as ``_without`` has them."""
    place = 0
    for start, end in spans:
        while place < len(others) and others[place][1] <= start:
            place += 1
        if place == len(others) or others[place][0] > start:
            return start
        if others[place][1] < end:
            return others[place][1]
    return None
