"""What readers of a job's output are told, checked as it comes, and what is true of it."""

import hashlib
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from penstock.client import Client
from penstock.proto import command_pb2 as pb
from penstock.rpc.channel import ClientCall

# The bytes [begin, end) of a job's output, known from elsewhere.
Truth = Callable[[int, int], bytes]
# From, to, and the reason.
Span = tuple[int, int, str]

_FIRST_LINE = 10_000_000
_LINE_BYTES = 9


def numbered(size: int) -> str:
    """A shell command that prints so many bytes of numbered lines, fast."""
    return f"seq {_FIRST_LINE} {_FIRST_LINE * 10 - 1} | head -c {size}"


def numbered_bytes(begin: int, end: int) -> bytes:
    """The truth of what ``numbered`` prints."""
    first = begin // _LINE_BYTES
    last = -(-end // _LINE_BYTES)
    lines = "".join([f"{_FIRST_LINE + number}\n" for number in range(first, last)])
    return lines.encode()[begin - first * _LINE_BYTES : end - first * _LINE_BYTES]


def spans(gaps: Iterable[pb.Gap]) -> list[Span]:
    """Gaps as values, those that follow one another for the same reason as one."""
    merged: list[Span] = []
    for gap in gaps:
        begin = gap.from_offset
        if merged and merged[-1][1:] == (begin, gap.reason):
            begin = merged.pop()[0]
        merged.append((begin, gap.to_offset, gap.reason))
    return merged


def kept_sha256(end: pb.EndRecord, truth: Truth) -> str:
    """Of the output without its gaps: what the end record must say."""
    digest = hashlib.sha256()
    offset = 0
    for gap in end.gaps:
        digest.update(truth(offset, gap.from_offset))
        offset = gap.to_offset
    digest.update(truth(offset, end.output_bytes))
    return digest.hexdigest()


@dataclass
class Told:
    """One reader's account of a job's output, over as many streams as it takes.

    Every message is the very next one. With ``truth`` the bytes are compared at once; else they
    are kept, unless ``keep`` is False: then there is their SHA-256 alone.
    """

    truth: Truth | None = None
    keep: bool = True
    begin: int = -1
    position: int = -1
    received: int = 0
    passed_over: int = 0
    messages: int = 0
    quiet_beats: int = 0
    """Heartbeats since the last thing that came."""
    gaps: list[pb.Gap] = field(default_factory=list)
    pieces: list[tuple[int, int, bytes]] = field(default_factory=list)
    """Offset, stream, bytes; where they are kept."""
    text: dict[int, str] = field(default_factory=dict)
    end: pb.EndRecord | None = None
    filtered: bool = False
    digest: Any = field(default_factory=hashlib.sha256)

    def take(self, message: pb.StreamOutputResponse) -> None:
        """The next message, of this stream or of the one that goes on where the last was cut."""
        assert self.end is None, "nothing follows the end record"
        self.messages += 1
        if message.HasField("job"):
            if self.begin < 0:
                self.begin = self.position = message.offset
            assert message.offset == message.next_offset == self.position
            return
        if message.heartbeat:
            self.quiet_beats += 1
        elif message.HasField("gap"):
            gap = message.gap
            assert (message.offset, message.next_offset) == (gap.from_offset, gap.to_offset)
            assert gap.from_offset < gap.to_offset
            self.gaps.append(gap)
        elif message.HasField("finished"):
            self.end = message.finished
        else:
            self._chunk(message)
        if not message.heartbeat:
            self.quiet_beats = 0
        # What lies between is of streams that it did not ask for, or no whole character yet.
        assert message.offset >= self.position
        self.passed_over += message.offset - self.position
        self.position = message.next_offset

    async def take_all(self, messages: AsyncIterable[pb.StreamOutputResponse]) -> None:
        """What is left of a stream. Raises as it does."""
        async for message in messages:
            self.take(message)

    def _chunk(self, message: pb.StreamOutputResponse) -> None:
        self.received += message.next_offset - message.offset
        if message.output:
            assert not message.data
            known = self.text.get(message.stream, "")
            self.text[message.stream] = known + message.output
            return
        assert len(message.data) == message.next_offset - message.offset > 0
        assert self.filtered or message.offset == self.position, (self.position, message)
        self.digest.update(message.data)
        if self.truth is None and self.keep:
            self.pieces.append((message.offset, message.stream, message.data))
        if self.truth is not None:
            assert message.data == self.truth(message.offset, message.next_offset)

    @property
    def announced(self) -> int:
        """Bytes of all gaps."""
        return sum(gap.to_offset - gap.from_offset for gap in self.gaps)

    def data(self, stream: int | None = None) -> bytes:
        """What came, of one stream or of all; where it is kept."""
        return b"".join([data for _, number, data in self.pieces if stream in (None, number)])

    def check_complete(self) -> pb.EndRecord:
        """Received + announced = produced; the end record, which has come."""
        assert self.end is not None, "no end record"
        assert self.position == self.end.output_bytes
        told = self.begin + self.received + self.announced + self.passed_over
        assert told == self.end.output_bytes
        return self.end


def at(offset: int) -> Callable[[Told], bool]:
    """For ``until``: it has come so far."""
    return lambda told: told.position >= offset


def quiet(told: Told) -> bool:
    """For ``until``: nothing has come between two heartbeats."""
    return told.quiet_beats >= 2


def streaming(
    client: Client, handle: str, **wish: Any
) -> AbstractAsyncContextManager[ClientCall[pb.StreamOutputResponse]]:
    """A raw stream with any field of the request; ``raw=False`` for text."""
    request = pb.StreamOutputRequest(pid=handle, **{"raw": True, **wish})
    return client._channel.server_stream(
        "teleport.CommandService", "StreamOutput", request, pb.StreamOutputResponse
    )


async def follow(
    client: Client,
    handle: str,
    told: Told | None = None,
    *,
    until: Callable[[Told], bool] | None = None,
    **wish: Any,
) -> Told:
    """Reads to the end, or ``until``, which sees it after each message.

    A ``told`` that has begun goes on at the offset that it has reached.
    """
    if told is None:
        told = Told()
    if told.position >= 0:
        for name in ("tail_lines", "since_ns"):
            wish.pop(name, None)
        wish["offset"] = told.position
    told.filtered = bool(wish.get("streams"))
    async with streaming(client, handle, **wish) as messages:
        async for message in messages:
            told.take(message)
            if until is not None and until(told):
                break
    return told
