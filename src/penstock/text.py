"""Bytes of one output stream as text, cut anywhere."""

import codecs


class TextDecoder:
    """UTF-8 with U+FFFD for bad bytes; a character cut in two comes with its second part."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """The text that is complete now."""
        return self._decoder.decode(data)

    @property
    def held_bytes(self) -> int:
        """How many of the bytes fed are kept back, for a character that is not whole yet."""
        return len(self._decoder.getstate()[0])

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole."""
        return self._decoder.decode(b"", final=True)
