"""Bytes of one output stream as text, cut anywhere."""

import codecs


class TextDecoder:
    """UTF-8 with U+FFFD for bad bytes; a character cut in two comes with its second part."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """The text that is complete now."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left at the end: U+FFFD for a character that never became whole."""
        return self._decoder.decode(b"", final=True)
