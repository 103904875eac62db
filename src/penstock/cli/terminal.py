"""Text of a job or a server, made harmless for a terminal, and how wide it is there (pure)."""

import unicodedata
from typing import Final

# Categories of the Unicode Character Database: controls; format characters (bidirectional marks
# and overrides, zero-width joiners and spaces, tags); surrogates; private use and not
# assigned, because their look depends on the font; line and paragraph separators.
_CATEGORIES: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# What shows nothing by itself though its category is another one: Default_Ignorable_Code_Point
# of DerivedCoreProperties.txt (Unicode 16.0), so far as it is not in the categories above, and
# the blank Braille pattern. Variation selectors are among them.
_INVISIBLE: Final = frozenset(
    chr(number)
    for first, last in (
        (0x034F, 0x034F),  # combining grapheme joiner
        (0x115F, 0x1160),  # Hangul fillers
        (0x17B4, 0x17B5),  # Khmer inherent vowels
        (0x180B, 0x180F),  # Mongolian free variation selectors and vowel separator
        (0x2800, 0x2800),
        (0x3164, 0x3164),  # Hangul filler
        (0xFE00, 0xFE0F),  # variation selectors
        (0xFFA0, 0xFFA0),  # halfwidth Hangul filler
        (0xE0100, 0xE01EF),  # variation selectors supplement
    )
    for number in range(first, last + 1)
)
_KEPT: Final = frozenset("\n\t")
_TAB_STOP: Final = 8
# Beyond every terminal, so that the exact width of such a line makes no difference.
_ANY_WIDTH: Final = 4096


class _Shown(dict[int, str]):
    """How each character is shown, by its number, for str.translate; computed once for each."""

    def __missing__(self, number: int) -> str:
        character = chr(number)
        shown = escape(character) if is_hidden(character) else character
        self[number] = shown
        return shown


_SHOWN: Final = _Shown()


def harmless(text: str) -> str:
    r"""The text with visible escapes for what controls a terminal or cannot be seen there.

    Line ends and tabs stay, and so does "\r\n". A lone carriage return is escaped, because it would
    let a line overwrite another.
    """
    if text.isascii() and text.isprintable():
        return text
    return text.replace("\r\n", "\n").translate(_SHOWN)


def is_hidden(character: str) -> bool:
    """Whether a terminal would obey this character, or show nothing in its place."""
    if character in _KEPT:
        return False
    return character in _INVISIBLE or unicodedata.category(character) in _CATEGORIES


def escape(character: str) -> str:
    """The character's escape as Python, C and bash's $'...' write it."""
    number = ord(character)
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def columns_of(text: str, begin: int = 0) -> int:
    """The column of a terminal's cursor after this harmless text without line ends, if it was in
    ``begin`` before. An estimate, because terminals differ in which characters they draw wide."""
    if len(text) > _ANY_WIDTH or (text.isascii() and "\t" not in text):
        return begin + len(text)
    column = begin
    for character in text:
        column = _column_after(character, column)
    return column


def cut_at_column(text: str, edge: int, begin: int = 0) -> tuple[str, str]:
    """Cuts harmless text without line ends that begins in column ``begin``: the part that ends in
    column ``edge`` or before, and the rest."""
    column = begin
    for index, character in enumerate(text):
        column = _column_after(character, column)
        if column > edge:
            return text[:index], text[index:]
    return text, ""


def _column_after(character: str, column: int) -> int:
    if character == "\t":
        return column + _TAB_STOP - column % _TAB_STOP
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return column + 2
    return column + (unicodedata.category(character) not in ("Mn", "Me"))
