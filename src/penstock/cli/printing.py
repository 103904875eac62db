"""Output of a job as lines with the time each began, whatever the chunks were cut into."""

from datetime import UTC, datetime

from ..text import TextDecoder
from .terminal import harmless


def timestamp(time_ns: int) -> str:
    """2026-11-23T11:21:38.123Z."""
    time = datetime.fromtimestamp(time_ns / 1e9, UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


class LinePrinter:
    """Text of chunks, in order; a timestamp stands only at a true line start."""

    def __init__(self, *, timestamps: bool, escape: bool) -> None:
        self._timestamps = timestamps
        self._escape = escape
        self._at_start = True
        self._decoders: dict[int, TextDecoder] = {}

    def feed(self, stream: int, time_ns: int, data: bytes) -> str:
        """What to print for the next chunk of raw bytes."""
        decoder = self._decoders.setdefault(stream, TextDecoder())
        return self._lines(decoder.feed(data), time_ns)

    def flush(self, time_ns: int) -> str:
        """What is left of characters that were cut at the end."""
        return "".join(self._lines(item.flush(), time_ns) for item in self._decoders.values())

    def _lines(self, text: str, time_ns: int) -> str:
        printed = []
        # Not splitlines: that breaks at carriage returns and form feeds, too.
        *complete, rest = text.split("\n")
        for line in complete:
            printed.append(self._begin(time_ns) + self._shown(line) + "\n")
            self._at_start = True
        if rest:
            printed.append(self._begin(time_ns) + self._shown(rest))
            self._at_start = False
        return "".join(printed)

    def _begin(self, time_ns: int) -> str:
        return f"{timestamp(time_ns)} " if self._at_start and self._timestamps else ""

    def _shown(self, text: str) -> str:
        return harmless(text) if self._escape else text
