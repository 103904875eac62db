"""Output of a job as lines with the time each began, whatever the chunks were cut into."""

import json
from datetime import UTC, datetime
from typing import Any

from ..text import REPLACEMENT, decode
from .standard import say
from .terminal import harmless


def say_json(message: Any) -> None:
    """A protobuf message as one JSON line on standard output."""
    say(json_line(message))


def json_line(message: Any) -> str:
    """A protobuf message as JSON; the field names are those of the proto."""
    from google.protobuf.json_format import MessageToDict

    return json.dumps(MessageToDict(message, preserving_proto_field_name=True))


def timestamp(time_ns: int) -> str:
    """2026-11-23T11:21:38.123Z."""
    time = datetime.fromtimestamp(time_ns / 1e9, UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"


class _Part:
    """One stream's text; for a terminal its carriage returns wait for what follows them."""

    def __init__(self, *, escape: bool) -> None:
        self._rest = b""
        self._escape = escape
        self._return = ""

    @property
    def held_bytes(self) -> int:
        return len(self._rest) + len(self._return)

    def feed(self, data: bytes) -> str:
        text, self._rest = decode(self._rest + data)
        return self._shown(text)

    def flush(self) -> str:
        text = self._shown(REPLACEMENT if self._rest else "")
        text += harmless(self._return)
        self._rest, self._return = b"", ""
        return text

    def _shown(self, text: str) -> str:
        if not self._escape:
            return text
        text = self._return + text
        # Alone it is an escape, and before a line feed it is a line end like any other.
        self._return = "\r" if text.endswith("\r") else ""
        return harmless(text.removesuffix("\r"))


class LinePrinter:
    """Text of chunks, in order; a timestamp stands only at a true line start."""

    def __init__(self, *, timestamps: bool, escape: bool) -> None:
        self._timestamps = timestamps
        self._escape = escape
        self._at_start = True
        self._parts: dict[int, _Part] = {}

    def feed(self, stream: int, time_ns: int, data: bytes) -> str:
        """What to print for the next chunk of raw bytes."""
        part = self._parts.setdefault(stream, _Part(escape=self._escape))
        return self._lines(part.feed(data), time_ns)

    def held_bytes(self, stream: int) -> int:
        """How many of the bytes fed are not in what was to be printed yet."""
        return self._parts[stream].held_bytes if stream in self._parts else 0

    def flush(self, time_ns: int) -> str:
        """What is left of characters that were cut at the end."""
        return "".join(self._lines(part.flush(), time_ns) for part in self._parts.values())

    def _lines(self, text: str, time_ns: int) -> str:
        printed = []
        # Not splitlines: that breaks at carriage returns and form feeds, too.
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
