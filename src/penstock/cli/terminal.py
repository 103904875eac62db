"""What a job prints, made harmless for a terminal (pure)."""

import unicodedata
from typing import Final

# Left-to-right and right-to-left marks, embeddings, overrides and isolates: they can make a
# line read as something else (Unicode Technical Report 36, bidirectional text).
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_KEPT: Final = frozenset("\n\t")


def harmless(text: str) -> str:
    """Control characters (C0, C1, DEL), bidi controls and line separators as visible escapes.

    Line ends and tabs stay, and so does "\\r\\n"; a lone carriage return would let a line
    overwrite another.
    """
    if text.isprintable() and text.isascii():
        return text
    return "".join(
        _escape(character) if _is_control(character) else character
        for character in text.replace("\r\n", "\n")
    )


def _is_control(character: str) -> bool:
    if character in _KEPT:
        return False
    return character in _BIDI or unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs")


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
