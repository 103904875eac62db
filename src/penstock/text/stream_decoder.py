"""Bytes of a job's output streams as text, cut anywhere (pure).

A character may begin in one chunk and end in the next one of its stream, with chunks of the other
stream in between. So each reader has one ``TextDecoder``, which alone keeps unfinished characters.
"""

import codecs
from collections.abc import Mapping
from typing import Final, Generic, TypeVar

StreamT = TypeVar("StreamT", bound=int)

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


class TextDecoder(Generic[StreamT]):
    """UTF-8 of any number of streams, with U+FFFD for bad bytes.

    Keeps the beginning of a character that may become whole, at most three bytes, until its
    stream's next ones come.
    """

    def __init__(self, begun: Mapping[StreamT, bytes] | None = None) -> None:
        """``begun``: by stream, the bytes of a character that begin before the first ones fed."""
        self._unfinished = dict(begun or {})

    def feed(self, stream: StreamT, data: bytes) -> str:
        """The text that these bytes, the next ones of their stream, complete."""
        data = self._unfinished.get(stream, b"") + data
        text, used = codecs.utf_8_decode(data, "replace", False)
        if used < len(data):
            self._unfinished[stream] = data[used:]
        else:
            self._unfinished.pop(stream, None)
        return text

    def held_bytes(self, stream: StreamT) -> int:
        """How many of the stream's bytes fed so far are in no returned text yet."""
        return len(self._unfinished.get(stream, b""))

    def break_off(self) -> list[StreamT]:
        """The streams whose character will never be whole, because its rest is missing: for each
        one a REPLACEMENT is due. They are forgotten."""
        streams = list(self._unfinished)
        self._unfinished.clear()
        return streams
