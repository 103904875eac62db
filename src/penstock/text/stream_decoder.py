"""Bytes of one output stream as text, cut anywhere (pure)."""

import codecs
from typing import Final

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def decode(data: bytes) -> tuple[str, bytes]:
    """UTF-8 with U+FFFD for bad bytes; and the beginning of a character that may become whole.

    That rest, at most three bytes, goes in front of the stream's next bytes; at its end
    REPLACEMENT stands for it.
    """
    text, used = codecs.utf_8_decode(data, "replace", False)
    return text, data[used:]
