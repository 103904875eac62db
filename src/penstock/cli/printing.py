"""Output of a job as lines with the time each began, independent of the chunks' bounds."""

from datetime import UTC, datetime

from google.protobuf.message import Message

from ..text.stream_decoder import REPLACEMENT, TextDecoder
from .lazy import load
from .standard import say


def say_json(message: Message) -> None:
    """Prints a protobuf message as one JSON line on standard output. Never fails, as ``say``."""
    say(json_line(message))


def json_line(message: Message) -> str:
    """A protobuf message as JSON; the field names are those of the proto."""
    line: str = load("json_lines").message_line(message)
    return line


def timestamp(time_ns: int) -> str:
    """2026-11-23T11:21:38.123Z; "-" for 0, which is no time."""
    if time_ns == 0:
        return "-"
    time = datetime.fromtimestamp(time_ns / 1e9, UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


class LinePrinter:
    """Text of chunks, in order, for a file or a pipe; a timestamp stands only at a true line
    start. For a terminal there is TerminalPrinter."""

    def __init__(self, *, timestamps: bool) -> None:
        self._timestamps = timestamps
        self._at_start = True
        self._decoder = TextDecoder[int]()

    def feed(self, stream: int, time_ns: int, data: bytes) -> str:
        """The text to print for the next chunk of a stream's raw bytes, written at ``time_ns``."""
        return self._lines(self._decoder.feed(stream, data), time_ns)

    def held_bytes(self, stream: int) -> int:
        """How many of the stream's bytes fed so far are in no returned text yet."""
        return self._decoder.held_bytes(stream)

    def flush(self, time_ns: int) -> str:
        """The text of characters that were cut at the end."""
        cut = self._decoder.break_off()
        return "".join(self._lines(REPLACEMENT, time_ns) for _ in cut)

    def _lines(self, text: str, time_ns: int) -> str:
        printed = []
        # Not splitlines, because that breaks at carriage returns and form feeds, too.
        *complete, rest = text.split("\n")
        for line in complete:
            printed.append(f"{self._begin(time_ns)}{line}\n")
            self._at_start = True
        if rest:
            printed.append(self._begin(time_ns) + rest)
            self._at_start = False
        return "".join(printed)

    def _begin(self, time_ns: int) -> str:
        return f"{timestamp(time_ns)} " if self._at_start and self._timestamps else ""
