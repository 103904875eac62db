"""A TOML text as its statements, each with its lines and what it defines (pure).

``tomllib`` says what a text means, but neither in which line a key stands nor how to write. Both
follow from its statements: a header, an assignment, a comment or an empty line, each a run of whole
lines that is TOML by itself. So the grammar stays ``tomllib``'s, however a user has written a file.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Statement:
    """``text`` is its lines, with their ends; ``line`` counts from 1. ``keys`` is the whole path of
    what it defines, as far as that is one path; empty for a comment and an empty line."""

    text: str
    line: int
    keys: tuple[str, ...] = ()
    header: bool = False


def statements(text: str) -> list[Statement]:
    """All of a text's statements; joined, their texts are ``text``. Raises ValueError with the line
    if it is no TOML."""
    found, unfinished = _scanned(text)
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason = str(error).replace("at end of document", f"from line {unfinished} on")
        raise ValueError(reason) from error
    return found


def _scanned(text: str) -> tuple[list[Statement], int]:
    """The statements that are whole, and the line where the first begins that is not."""
    found: list[Statement] = []
    table: tuple[str, ...] = ()
    pending, line = "", 1
    for number, part in enumerate(_lines(text), 1):
        pending += part
        try:
            values = tomllib.loads(pending)
        except tomllib.TOMLDecodeError:  # the value goes on in the next line
            continue
        header = pending.lstrip().startswith("[")
        keys = _path(values)
        if header:
            table = keys
        elif keys:
            keys = (*table, *keys)
        found.append(Statement(pending, line, keys, header))
        pending, line = "", number + 1
    return found, line


def _lines(text: str) -> list[str]:
    """Split at line feeds alone, as TOML has it, because ``splitlines`` knows many more ends."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _path(values: Any) -> tuple[str, ...]:  # noqa: ANN401  TOML's own
    """The keys from the outermost one to the first that has not exactly one below it."""
    keys = []
    while isinstance(values, dict) and len(values) == 1:
        ((key, values),) = values.items()
        keys.append(key)
    return tuple(keys)


def line_of(found: Iterable[Statement], keys: Sequence[str]) -> int:
    """The line where ``keys`` are defined, or else the innermost table around them; 1 if none
    is."""
    wanted = tuple(keys)
    best, line = 0, 1
    for each in found:
        if each.keys[: len(wanted)] == wanted:
            return each.line
        if len(each.keys) > best and wanted[: len(each.keys)] == each.keys:
            best, line = len(each.keys), each.line
    return line


def written_string(text: str) -> str:
    """A basic string."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    """As TOML has it: no control character but tab may stand in a string as it is."""
    if character in '"\\':
        return f"\\{character}"
    return f"\\u{ord(character):04x}" if character < " " or character == "\x7f" else character


def written_keys(keys: Sequence[str]) -> str:
    """A dotted key, quoted where that is needed."""
    return ".".join(key if _BARE_KEY.fullmatch(key) else written_string(key) for key in keys)
