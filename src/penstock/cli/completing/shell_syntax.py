"""Words as a shell's user types them: read although unfinished, and quoted (pure).

Why not shlex: it fails at a quote that is still open, which is where people press the Tab key, and
it does not know ``$'...'``, in which alone control characters can be written so that a terminal
shows them.
"""

import re
from dataclasses import dataclass
from typing import Final

from ..terminal import is_hidden

_ANSI: Final = "$'"
_SEPARATORS: Final = frozenset("|&;()<>")
_NAMED: Final = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "e": "\x1b",
    "E": "\x1b",
}
# What stands for itself in every place of a word of bash; "=" does so behind its first character
# alone, and "~" behind most.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./:@%+,^=~-]", re.ASCII)
_FRONT: Final = re.compile(r"[A-Za-z0-9_./:@%+,^-]", re.ASCII)
_NUMBER: Final = re.compile(
    r"x(?P<x>[0-9a-fA-F]{1,2})|u(?P<u>[0-9a-fA-F]{1,4})|U(?P<U>[0-9a-fA-F]{1,8})|(?P<o>[0-7]{1,3})"
)
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")


@dataclass(frozen=True, slots=True)
class Word:
    """``raw`` as typed; ``text`` as the program would get it; ``quote`` is the one that is still
    open at its end: ', ", $' or nothing."""

    raw: str
    text: str
    quote: str = ""


def split_line(line: str) -> list[Word]:
    """The words of a command line that ends at the cursor. The last one is the word at the cursor,
    empty behind a blank. Assignments in front of the command and redirections are left out."""
    words: list[Word] = []
    at = 0
    target = False  # the word is a redirection's, not the program's
    while True:
        while at < len(line) and line[at] in " \t\n":
            at += 1
        word, end = _read(line, at)
        last = end == len(line)
        # A blank ends a word; an empty one is there only at the cursor.
        if (word.raw and not target) or last:
            words.append(word)
        if last:
            break
        target = target and not word.raw
        if line[end] in _SEPARATORS:
            target = line[end] in "<>"
            if not target:
                words.clear()
            end += 1
        at = end
    while len(words) > 1 and _ASSIGNMENT.match(words[0].raw):
        del words[0]
    return words


def read_word(raw: str, *, fish: bool = False) -> Word:
    """One word as typed, which the shell has cut out already. ``fish``: as that reads it, for
    which a backslash counts in single quotes, too, and $'...' is nothing."""
    parts = []
    at = 0
    quote = ""
    while at < len(raw):
        word, end = _read(raw, at, fish=fish)
        parts.append(word.text)
        quote = word.quote
        if end < len(raw):
            parts.append(raw[end])
        at = end + 1
    return Word(raw, "".join(parts), quote)


def _read(line: str, begin: int, *, fish: bool = False) -> tuple[Word, int]:
    """The word that begins there, and where it ends. Expansions stay as typed, because what
    they become is the shell's to say."""
    text: list[str] = []
    quote = ""
    at = begin
    while at < len(line):
        character = line[at]
        if quote == "'":
            if character == "'":
                quote = ""
            elif fish and character == "\\" and line[at + 1 : at + 2] in ("'", "\\"):
                text.append(line[at + 1])
                at += 1
            else:
                text.append(character)
        elif quote == _ANSI:
            if character == "'":
                quote = ""
            elif character == "\\" and at + 1 < len(line):
                value, at = _ansi_escape(line, at + 1)
                text.append(value)
                continue
            else:
                text.append(character)
        elif quote == '"':
            if character == '"':
                quote = ""
            elif character == "\\" and line[at + 1 : at + 2] in ('"', "\\", "$", "`"):
                text.append(line[at + 1])
                at += 1
            else:
                text.append(character)
        elif character == "\\":
            text.append(line[at + 1 : at + 2])
            at += 1
        elif not fish and line.startswith(_ANSI, at):
            quote = _ANSI
            at += 1
        elif character in "'\"":
            quote = character
        elif character in " \t\n" or character in _SEPARATORS:
            break
        else:
            text.append(character)
        at += 1
    at = min(at, len(line))
    return Word(line[begin:at], "".join(text), quote), at


def _ansi_escape(line: str, at: int) -> tuple[str, int]:
    """What stands behind a backslash in $'...', and where it ends."""
    if match := _NUMBER.match(line, at):
        digits = next(digits for digits in match.groups() if digits)
        number = int(digits, 8 if match["o"] else 16)
        return (chr(number) if number < 0x110000 else "\N{REPLACEMENT CHARACTER}"), match.end()
    return _NAMED.get(line[at], line[at]), at + 1


def quoted(text: str, quote: str = "", *, front: bool = True) -> str | None:
    """``text`` as one would type it into bash where ``quote`` is open, without the quote that
    closes it. ``front``: it begins a word. None where it cannot be typed: a hidden character can
    be seen in $'...' alone, and a quote that is open already is left only for what is known to be
    harmless behind it."""
    if quote == _ANSI:
        return "".join(map(_in_ansi, text))
    if any(is_hidden(character) or character in "\n\t" for character in text):
        return None if quote else f"$'{''.join(map(_in_ansi, text))}'"
    # History expansion of bash obeys "!" in double quotes, in front of a backslash there too, and
    # in single quotes behind an odd number of \". It never obeys \! outside of quotes.
    if quote == "'":
        return re.sub("['!]", r"'\\\g<0>'", text)
    if quote == '"':
        return re.sub(r'["\\$`]', r"\\\g<0>", text).replace("!", '"\\!"')
    shown: list[str] = []
    before = "" if front else "="
    for character in text:
        # Behind these a "~" may be a home directory: first, or in what looks like an assignment.
        home = character == "~" and before in ("", "=", ":")
        plain = (_PLAIN if shown or not front else _FRONT).match(character) and not home
        stands = plain or ord(character) >= 0x80
        shown.append(character if stands else f"\\{character}")
        before = character
    return "".join(shown)


def inserted(text: str, quote: str = "", *, front: bool = True) -> str | None:
    """What makes readline insert ``text`` where ``quote`` is open, which it closes by itself. None
    as in ``quoted``."""
    typed = quoted(text, quote, front=front)
    if typed and quote in ("'", '"'):
        # The first character takes the place of the open quote if it is one, too.
        if typed.startswith(quote):
            typed = f"{quote}{typed}"
        # Behind one at the end readline adds none, whether that one closes or not.
        if typed.endswith(quote):
            typed += quote
    return typed


def _in_ansi(character: str) -> str:
    if character in "\n\t":
        return {"\n": "\\n", "\t": "\\t"}[character]
    # By number, because readline and bash, where they look for a word's end, take \' for one or \\'
    # for none.
    if character in "\\'!" or (ord(character) < 0x80 and is_hidden(character)):
        return f"\\x{ord(character):02x}"
    if is_hidden(character):
        number = ord(character)
        return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    return character
