"""Reads TOML tables by their keys and collects every mistake, named by its key (pure).

A file with mistakes is refused whole. So a reader that meets a mistake records it and continues
with any value of the right type: the administrator sees all mistakes at once, and no result of such
a file is ever used.
"""

import codecs
import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)", re.ASCII)
_DURATION_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BRACKET: Final = re.compile(rb"[\[\]{}]")
_LONG_NUMBER: Final = re.compile(rb"[0-9_]{4300,}")
MAX_FILE_BYTES: Final = 1 << 20
NOT_TOML: Final = "file: not TOML: "
"""How the one mistake of a file begins whose form is none that could be read further."""
_MISSING: Final = "is missing"
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}|\d{1,10}", re.ASCII)
_MAX_UID: Final = 2**32 - 2

T = TypeVar("T")


class Table:
    """One TOML table. ``finish`` must be called when all its keys were asked for."""

    def __init__(
        self,
        values: dict[str, object],
        path: str,
        mistakes: list[str],
        strays: dict[int, tuple[str, str]] | None = None,
    ) -> None:
        """``strays``, of the whole file: unknown keys below the top level and the paths of their
        tables, by the places of their mistakes."""
        self._values = values
        self._path = path
        self._asked: set[str] = set()
        self._tables: set[str] = set()
        self._strays = {} if strays is None else strays
        self.mistakes = mistakes

    def where(self, key: str) -> str:
        """The full name of a key, as it would be written in the file."""
        return f"{self._path}.{dotted(key)}" if self._path else dotted(key)

    def wrong(self, key: str, what: str, remedy: str) -> None:
        """Records a mistake: where, what is wrong, and what to do about it."""
        self.mistakes.append(f"{self.where(key)}: {what}; {remedy}")

    def wrong_itself(self, what: str, remedy: str) -> None:
        """Records a mistake about the table's own name."""
        self.mistakes.append(f"{self._path}: {what}; {remedy}")

    def names(self) -> list[str]:
        """The keys that are present, in the order of the file."""
        return list(self._values)

    def has(self, key: str) -> bool:
        """Is the key present? It counts as known from now on."""
        self._asked.add(key)
        return key in self._values

    def value(self, key: str) -> object:
        """The value as TOML has it, None if absent."""
        self._asked.add(key)
        return self._values.get(key)

    def finish(self) -> None:
        """Records a mistake for every key that its reader did not ask for.

        The top level is to be the last one: it knows keys of its own in tables, too, because a line
        that is added at the end of a file belongs to the last table.
        """
        for key in self._values.keys() - self._asked:
            close = difflib.get_close_matches(key, self._asked, n=1)
            hint = f"did you mean {close[0]!r}?" if close else _known(self._asked)
            if self._path and not isinstance(self._values[key], dict):
                self._strays[len(self.mistakes)] = (self._path, key)
            self.wrong(key, "unknown key", hint)
        if self._path:
            return
        missing: set[str] = set()
        for place, (table, key) in self._strays.items():
            if key in self._asked - self._tables:
                where = f"{table}.{dotted(key)}"
                self.mistakes[place] = (
                    f"{where}: stands below [{table}]; move it above the first table"
                )
                # Where it is needed, it is there, but for its place: one mistake, not two.
                missing.add(f"{self.where(key)}: {_MISSING}; ")
        self.mistakes[:] = [each for each in self.mistakes if not each.startswith(tuple(missing))]

    def typed(self, key: str, kind: type[T], name: str, default: T, *, required: bool) -> T:
        """The value if it is of the kind; otherwise ``default``, and a mistake if it is needed."""
        if kind is dict:
            self._tables.add(key)
        if not self.has(key):
            if required:
                self.wrong(key, _MISSING, f"add it as {name}")
            return default
        value = self._values[key]
        # bool is a subclass of int, but the administrator who writes true means no number.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.wrong(key, f"{show(value)} is not {name}", f"write {name}")
            return default
        return value

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """A string without NUL."""
        value = self.typed(key, str, "a string", default, required=required)
        if "\0" in value:
            self.wrong(key, "holds a NUL", "leave it out")
            return default
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A boolean: true or false."""
        return self.typed(key, bool, "true or false", default, required=False)

    def integer(
        self, key: str, default: int, least: int, most: int, *, required: bool = False
    ) -> int:
        """An integer within bounds, both included."""
        name = f"an integer from {least} to {most}"
        value = self.typed(key, int, name, default, required=required)
        if not least <= value <= most and self.has(key):
            self.wrong(key, f"{show(value)} is out of range", f"write {name}")
            return default
        return value

    def parsed(
        self,
        key: str,
        parse: Callable[[str], T],
        default: T,
        *,
        remedy: str,
        required: bool = False,
    ) -> T:
        """A string's meaning. ``parse`` raises ValueError with what is wrong."""
        if not self.has(key):
            if required:
                self.wrong(key, _MISSING, remedy)
            return default
        if not isinstance(self._values[key], str):
            self.wrong(key, f"{show(self._values[key])} is not a string", remedy)
            return default
        before = len(self.mistakes)
        text = self.text(key)
        if len(self.mistakes) > before:
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.wrong(key, str(error), remedy)
            return default

    def texts(self, key: str, *, required: bool = False) -> list[str]:
        """A list of strings without NUL."""
        values: list[object] = self.typed(key, list, "a list of strings", [], required=required)
        texts = [value for value in values if isinstance(value, str) and "\0" not in value]
        if len(texts) != len(values):
            self.wrong(key, "holds what is not a string, or a NUL", "write a list of strings")
            return []
        return texts

    def choices(self, key: str, allowed: Iterable[str], default: frozenset[str]) -> frozenset[str]:
        """A set of words out of ``allowed``."""
        allowed = list(allowed)
        if not self.has(key):
            return default
        values = self.texts(key)
        for value in values:
            if value not in allowed:
                self.wrong(key, f"{show(value)} is unknown", f"choose among {', '.join(allowed)}")
        return frozenset(values)

    def choice(self, key: str, allowed: Iterable[str], default: str) -> str:
        """One word out of ``allowed``."""
        allowed = list(allowed)
        value = self.text(key, default)
        if value not in allowed:
            words = " or ".join(f'"{word}"' for word in allowed)
            self.wrong(key, f"{show(value)} is unknown", f"write {words}")
            return default
        return value

    def table(self, key: str) -> "Table":
        """A table in this table; empty if absent or not a table."""
        values: dict[str, object] = self.typed(key, dict, "a table", {}, required=False)
        return Table(values, self.where(key), self.mistakes, self._strays)

    def tables(self, key: str) -> list[tuple[str, "Table"]]:
        """The tables in a table, by name: ``[key.NAME]``."""
        outer = self.table(key)
        return [(name, outer.table(name)) for name in outer.names()]


def dotted(*names: str) -> str:
    """A key by its parts, as it would be written in a file: quotes where they are needed."""
    return ".".join(name if _BARE_KEY.fullmatch(name) else json.dumps(name) for name in names)


def read_document(data: bytes, mistakes: list[str]) -> Table:
    """The top level of a TOML file; mistakes in its form are recorded, not raised."""
    values: dict[str, object] = {}
    if len(data) > MAX_FILE_BYTES:
        mistakes.append(
            f"file: {len(data)} bytes are too many; write at most {MAX_FILE_BYTES}, "
            "as by fewer comments"
        )
    elif data.startswith(codecs.BOM_UTF8):
        where = _at(data, 0)
        mistakes.append(
            f"{NOT_TOML}begins with a byte order mark {where}; save the file as UTF-8 without one"
        )
    else:
        try:
            values = tomllib.loads(data.decode("utf-8"))
        except UnicodeDecodeError as error:
            where = _at(data, error.start)
            mistakes.append(
                f"file: byte {error.start} is not UTF-8 {where}; save the file as UTF-8"
            )
        except RecursionError:
            mistakes.append(f"file: nested too deeply {_deepest(data)}; write fewer levels")
        except tomllib.TOMLDecodeError as error:
            mistakes.append(syntax_mistake(error))
        except ValueError:  # of int(), for which 4300 digits are too many
            found = _LONG_NUMBER.search(data)
            where = _at(data, found.start() if found is not None else 0)
            mistakes.append(f"{NOT_TOML}a number is too long {where}; correct it there")
    return Table(values, "", mistakes)


def _at(data: bytes, offset: int) -> str:
    """A place, as tomllib's messages name it."""
    line, begin = data.count(b"\n", 0, offset) + 1, data.rfind(b"\n", 0, offset)
    return f"(at line {line}, column {offset - begin})"


def _deepest(data: bytes) -> str:
    """Where most brackets are open. Those within texts are counted as well, which no file has by
    the hundred."""
    depth, most, place = 0, 0, 0
    for found in _BRACKET.finditer(data):
        depth += 1 if found[0] in b"[{" else -1
        if depth > most:
            most, place = depth, found.start()
    return _at(data, place)


def syntax_mistake(error: ValueError) -> str:
    """The mistake of a file that tomllib could not read."""
    return f"{NOT_TOML}{error}; correct it there"


def parse_duration(text: str) -> float:
    """Seconds in ``"60s"``, ``"1.5h"`` or ``"500ms"``. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{show(text)} is not a duration")
    return float(match[1]) * _DURATION_UNITS_S[match[2]]


def valid_user(text: str) -> bool:
    """Is this a user's name, or a number of one?"""
    return _USER.fullmatch(text) is not None and not (text.isdigit() and int(text) > _MAX_UID)


def parse_path(text: str) -> str:
    """An absolute path in its plain form. Raises ValueError."""
    if not text.startswith("/"):
        raise ValueError(f"{show(text)} is not an absolute path")
    if text != "/" and any(part in ("", ".", "..") for part in text[1:].split("/")):
        raise ValueError(f"{show(text)} has '.', '..', '//' or a '/' at the end")
    return text


def show(value: object) -> str:
    """A value in a mistake: never longer than a line."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of thousands of digits in decimal
        text = "a number of far too many digits"
    except RecursionError:
        text = "tables within tables within tables"
    return text if len(text) <= 60 else text[:57] + "..."


def _known(keys: set[str]) -> str:
    if not keys:
        return "remove it"
    return f"remove it; known are {', '.join(sorted(keys))}"
