"""A mistake of a file, with its place and what to do about it (pure).

Whoever finds a mistake writes one line: ``commands.ls.path: is missing; add it``. Here it gets its
file and line, and is taken apart for programs.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .toml_positions import KeyLines

_STEP: Final = r'(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*")'
_KEY: Final = re.compile(rf"({_STEP}(?:\.{_STEP}|\[\d+\])*): (.*)", re.ASCII | re.DOTALL)
_OF_A_TABLE: Final = re.compile(r"\[([a-z_]+)\] ([a-z_.]+): (.*)", re.ASCII | re.DOTALL)
_WHOLE_FILE: Final = "file: "


@dataclass(frozen=True, slots=True)
class FileMistake:
    """``key`` is "" where the whole file is meant, and ``file`` where it is none of a file's.

    ``text`` is the line as it was found: key, what is wrong, remedy.
    """

    text: str
    file: str = ""
    line: int | None = None
    key: str = ""
    what: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        if not self.file:
            return self.text
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.text.removeprefix(_WHOLE_FILE)}"


def located(file: str, data: bytes, texts: Iterable[str]) -> list[FileMistake]:
    """The mistakes of one file, whose bytes say where each key stands, in its order."""
    lines = KeyLines(data)
    found = [_located(file, lines, text) for text in texts]
    return sorted(found, key=lambda each: each.line or 0)


def unlocated(text: str) -> FileMistake:
    """A mistake of no file: of this host, or of how penstockd was started."""
    what, remedy = _parts(text)
    return FileMistake(text, what=what, remedy=remedy)


def _located(file: str, lines: KeyLines, text: str) -> FileMistake:
    key, rest = "", text
    if text.startswith(_WHOLE_FILE):
        rest = text.removeprefix(_WHOLE_FILE)
        line = lines.of_syntax(rest)
    else:
        if match := _OF_A_TABLE.fullmatch(text):
            key, rest = f"{match[1]}.{match[2]}", match[3]
        elif match := _KEY.fullmatch(text):
            key, rest = match[1], match[2]
        line = lines.of(key)
    what, remedy = _parts(rest)
    return FileMistake(text, file, line, key, what, remedy)


def _parts(text: str) -> tuple[str, str]:
    what, found, remedy = text.rpartition("; ")
    return (what, remedy) if found else (text, "")
