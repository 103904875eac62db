"""On which line of a TOML file each key stands (pure).

tomllib returns values without their places. A mistake in a file of hundreds of lines is found by
its line, so the file is scanned once more, and only if there is a mistake to place. The scanner
follows what it knows of TOML's form and judges nothing: where a file has none of that form, it
stops, and what it has found by then stays true.
"""

import contextlib
import re
import tomllib
from typing import Final

from .toml_tables import MAX_FILE_BYTES, dotted

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_BLANK: Final = re.compile(r"[ \t]*")
_BETWEEN: Final = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")' r"|'''.*?'{3,5}(?!')" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^,\]}\n#]+")
_LAST_STEP: Final = re.compile(r'(?:\.?[A-Za-z0-9_-]+|\.?"(?:[^"\\]|\\.)*"|\[\d+\])$', re.ASCII)
_SYNTAX: Final = re.compile(r"\(at line (\d+), column \d+\)")
_AT_THE_END: Final = "(at end of document)"


class _Stopped(Exception):
    """The text is not of a form that the scanner knows."""


def key_lines(text: str) -> dict[str, int]:
    """Lines, from 1 on, by key: ``commands.ls.arguments[1].int``, spelled as Table.where does."""
    return _scanned(text).lines


def parent_key(key: str) -> str:
    """That of the table that the key stands in, or would stand in; "" of a first step."""
    return _LAST_STEP.sub("", key)


def _scanned(text: str) -> "_Scanner":
    scanner = _Scanner(text)
    with contextlib.suppress(_Stopped, RecursionError, ValueError):  # what was found stays true
        scanner.document()
    return scanner


class KeyLines:
    """The lines of one file's bytes; scanned when first asked."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._found: _Scanner | None = None

    def _scan(self) -> "_Scanner":
        if self._found is None:
            self._found = _scanned(self._data[:MAX_FILE_BYTES].decode("utf-8", "replace"))
        return self._found

    @property
    def heads(self) -> list[int]:
        """The lines of ``[tables]``, ascending."""
        return self._scan().heads

    def has(self, key: str) -> bool:
        """Whether this very key stands in the file."""
        return key in self._scan().lines

    def of(self, key: str) -> int | None:
        """The line of the key or, of one that is missing, of what should have it."""
        lines = self._scan().lines
        while key:
            if key in lines:
                return lines[key]
            shorter = parent_key(key)
            if shorter == key:
                return None
            key = shorter
        return None

    def of_syntax(self, message: str) -> int | None:
        """The line that a message of tomllib names."""
        match = _SYNTAX.search(message)
        if match is not None:
            return int(match[1])
        return self._data.count(b"\n") + 1 if _AT_THE_END in message else None


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", " \n")
        self._at = 0
        self._line, self._counted = 1, 0
        self._tables: dict[str, int] = {}
        self.lines: dict[str, int] = {}
        self.heads: list[int] = []

    def document(self) -> None:
        prefix = ""
        while self._skip(_BETWEEN):
            if self._text.startswith("[", self._at):
                prefix = self._header()
            else:
                self._pair(prefix)

    def _header(self) -> str:
        many = self._text.startswith("[[", self._at)
        self._at += 2 if many else 1
        key = self._key("", head=True)
        self.heads.append(self._line)
        self._expect("]]" if many else "]")
        if many:
            number = self._tables[key] = self._tables.get(key, -1) + 1
            key = f"{key}[{number}]"
            self._found(key)
        return key

    def _pair(self, prefix: str) -> None:
        key = self._key(prefix)
        self._expect("=")
        self._skip(_BLANK)
        self._value(key)

    def _key(self, prefix: str, *, head: bool = False) -> str:
        """A key with its dots, each part of which is found here. In a ``head``, what lies below an
        array of tables belongs to the last of them."""
        while True:
            self._skip(_BLANK)
            if head and prefix in self._tables:
                prefix = f"{prefix}[{self._tables[prefix]}]"
            part = self._part()
            spelled = dotted(part)
            prefix = f"{prefix}.{spelled}" if prefix else spelled
            self._found(prefix)
            self._skip(_BLANK)
            if not self._text.startswith(".", self._at):
                return prefix
            self._at += 1

    def _part(self) -> str:
        match = _BARE.match(self._text, self._at) or _STRING.match(self._text, self._at)
        if match is None:
            raise _Stopped
        self._at = match.end()
        if match[0][0] in "\"'":
            return str(tomllib.loads(f"x = {match[0]}")["x"])
        return match[0]

    def _value(self, key: str) -> None:
        opening = self._text[self._at : self._at + 1]
        if opening == "[":
            self._array(key)
        elif opening == "{":
            self._inline(key)
        else:
            match = _STRING.match(self._text, self._at) or _SCALAR.match(self._text, self._at)
            if match is None:
                raise _Stopped
            self._at = match.end()

    def _array(self, key: str) -> None:
        self._at += 1
        number = 0
        while self._skip(_BETWEEN) and not self._text.startswith("]", self._at):
            place = f"{key}[{number}]"
            self._found(place)
            self._value(place)
            number += 1
        self._expect("]")

    def _inline(self, key: str) -> None:
        self._at += 1
        while self._skip(_BETWEEN) and not self._text.startswith("}", self._at):
            self._pair(key)
        self._expect("}")

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Passes over what the pattern matches; is there anything behind it?"""
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match is not None else self._at
        return self._at < len(self._text)

    def _expect(self, text: str) -> None:
        self._skip(_BLANK)
        if not self._text.startswith(text, self._at):
            raise _Stopped
        self._at += len(text)

    def _found(self, key: str) -> None:
        # Keys come in the order of the text, so each newline is counted once.
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        self.lines.setdefault(key, self._line)
