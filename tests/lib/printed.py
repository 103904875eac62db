"""What a job was told to print on two streams, and what its readers together have had of it."""

import itertools
import re
from dataclasses import dataclass, field

from told import Told


@dataclass
class Printed:
    """What a job was told to print: no eight bytes of it occur twice."""

    streams: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(), 2: bytearray()})
    pieces: int = 0

    def next(self, stream: int, size: int) -> bytes:
        lines = [f"é{self.pieces + number:05}\n" for number in range(size // 8 + 1)]
        self.pieces += len(lines)
        data = "".join(lines).encode()[:size]
        self.streams[stream] += data
        return data


class Log:
    """The output as its readers have told of it: where two of them disagree it fails."""

    def __init__(self, size: int) -> None:
        self._data = bytearray(size)
        self._streams = bytearray(size)  # 0: nobody has had it

    def add(self, told: Told) -> None:
        for offset, stream, piece in told.pieces:
            place = slice(offset, offset + len(piece))
            owners, before = self._streams[place], self._data[place]
            if any(owners):
                for owner, old, new in zip(owners, before, piece, strict=True):
                    assert owner == 0 or (owner, old) == (stream, new)
            self._data[place] = piece
            self._streams[place] = bytes([stream]) * len(piece)

    def check(self, printed: Printed, *, complete: bool) -> None:
        """Each stream's bytes, in order, are what was printed; if complete, all of it."""
        stretches = [match.span() for match in re.finditer(rb"[^\0]+", self._streams)]
        for stream, truth in printed.streams.items():
            place = 0
            for begin, end in stretches:
                owners = [owner == stream for owner in self._streams[begin:end]]
                run = bytes(itertools.compress(self._data[begin:end], owners))
                found = truth.find(run, place)
                assert found >= 0
                assert not complete or (found, len(run)) == (0, len(truth))
                place = found + len(run)
