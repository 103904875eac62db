"""A typed line as words: those of a POSIX shell, as ``shlex`` splits them, and nothing else of one
(pure).

Why not ``shlex`` itself: it fails at a quote that is still open, which is where Tab is pressed, it
does not say where a word begins, and it cannot tell a quoted ``|`` from one that is not. A test
holds both to the same words.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

# What a user of shells would type, and what to do instead.
_REFUSALS: Final = {
    "|": "this shell has no pipes: type the line into your own shell, with penstock in front of it",
    ">": "this shell writes no files: type the line into your own shell, with penstock in front of "
    "it",
    "<": "this shell reads no files: type the line into your own shell, with penstock in front of "
    "it",
    ";": "this shell takes one command a line: press Enter behind each",
    "&": "'&' stands at the end of a line, which it runs beside; press Enter behind each command",
    "`": "this shell puts no command's output into a line: type it, or use your own shell",
    "$(": "this shell puts no command's output into a line: type it, or use your own shell",
}
_QUOTE_IT: Final = "as a part of an argument it stands in quotes"
_BLANKS: Final = " \t\r\n"


class LineRefused(Exception):
    """A line that the shell does not take; the text is a sentence on what to do instead."""


@dataclass(slots=True)
class LineWord:
    """``text`` as a verb gets it. ``begin`` and ``end``: where the word is in what was typed.
    ``quote``: the one that is still open at its end, or a backslash that nothing follows."""

    begin: int
    end: int
    text: str = ""
    quote: str = ""


@dataclass(slots=True)
class LineRead:
    """One command of what was typed, or what is wrong with it."""

    words: list[LineWord] = field(default_factory=list)
    operator: str = ""
    """The first one that this shell does not take, "" without."""
    beside: bool = False
    """It ends with ``&``."""
    typed: str = ""
    indented: bool = False
    """A blank stands in front of it."""

    @property
    def texts(self) -> list[str]:
        """The words, as a verb gets them. Raises LineRefused."""
        if self.operator:
            text = f"{_REFUSALS[self.operator]}; {_QUOTE_IT}"
            raise LineRefused(text)
        for word in self.words:
            if word.quote:
                raise LineRefused(f"a quote is still open: {word.quote}")
        return [word.text for word in self.words]


def read_lines(text: str) -> Iterator[LineRead]:
    """Each command of what was typed; several where several lines were pasted. Empty ones are left
    out."""
    at = 0
    while at < len(text):
        read, end = _read_command(text, at)
        read.typed = text[at:end].strip(_BLANKS)
        read.indented = text[at] in _BLANKS
        at = end
        if read.words or read.operator or read.beside:
            yield read


def words_before(text: str) -> list[LineWord]:
    """The words of the last command in front of a cursor at the end of ``text``. The last one is
    the word at the cursor, empty behind a blank."""
    read, at = LineRead(), 0
    while True:
        read, at = _read_command(text, at)
        if at >= len(text):
            break
    if not (read.words and read.words[-1].end == len(text)):
        read.words.append(LineWord(len(text), len(text)))
    return read.words


def _read_command(text: str, begin: int) -> tuple[LineRead, int]:
    """The command that begins there, and where the next one does."""
    read = LineRead()
    at = begin
    while at < len(text):
        character = text[at]
        if character == "\n":
            return read, at + 1
        if character in _BLANKS:
            at += 1
        elif character == "#":
            at = _end_of_line(text, at)
        elif operator := _operator(text, at):
            at += len(operator)
            if operator == "&" and not read.beside:
                read.beside = True
            elif not read.operator:
                read.operator = operator
        else:
            word, at = _read_word(text, at)
            # Something stands behind the "&", so it is not at the end.
            if read.beside and not read.operator:
                read.operator = "&"
            read.words.append(word)
    return read, at


def _operator(text: str, at: int) -> str:
    """The operator there, "" if there is none."""
    if text.startswith("$(", at):
        return "$("
    return text[at] if text[at] in _REFUSALS else ""


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _read_word(text: str, begin: int) -> tuple[LineWord, int]:
    """The word that begins there, and where it ends."""
    word = LineWord(begin, begin)
    found: list[str] = []
    at = begin
    while at < len(text):
        character = text[at]
        if word.quote == "'":
            if character == "'":
                word.quote = ""
            else:
                found.append(character)
        elif word.quote == '"':
            if character == '"':
                word.quote = ""
            elif character == "\\" and text[at + 1 : at + 2] in ('"', "\\"):
                at += 1
                found.append(text[at])
            else:
                found.append(character)
        elif character == "\\":
            if at + 1 == len(text):
                word.quote = "\\"
            else:
                at += 1
                found.append(text[at])
        elif character in ("'", '"'):
            word.quote = character
        elif character in _BLANKS or _operator(text, at):
            break
        else:
            found.append(character)
        at += 1
    word.text, word.end = "".join(found), at
    return word, at
