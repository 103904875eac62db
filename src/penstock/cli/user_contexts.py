"""The contexts of a user: named servers with our identity there, groups of them, the current one.

This is what ``contexts.toml`` means, checked (pure but for ``~``). A file that a user has made and
one that ``penstock context add`` has written are one form:

    current = "prod"

    [contexts.prod]
    address = "penstock.example.org:8443"
    ca = "prod/ca.crt"
    certificate = "prod/alice.crt"
    key = "prod/alice.key"

    [groups]
    web = ["prod"]
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .context_file import home
from .flags import SettingsError
from .invocation import current
from .server_address import host_and_port, read_pin, server_name
from .toml_statements import Statement, line_of, statements, written_keys

_TOP: Final = ("current", "contexts", "groups")
PATHS: Final = ("ca", "certificate", "key", "passphrase_file")
KEYS: Final = ("address", *PATHS, "server_name", "server_fingerprint")
_CHECKS: Final[dict[str, Callable[[str], object]]] = {
    "address": host_and_port,
    "server_name": lambda text: server_name(text, "server_name"),
    "server_fingerprint": lambda text: read_pin(text, "server_fingerprint"),
}
"""Of what is no path."""
# No leading @ or -, because groups are to be named @web, and options begin so.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Context:
    """``values`` has what is set of KEYS: the address as it is written, and whole paths."""

    name: str
    values: dict[str, str]
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contexts:
    """What the file at ``path`` says. ``current`` is "" if none is, and may name none that is
    there, as may ``groups``: ``wrong_names`` reports these, because a verb may need neither."""

    path: Path
    current: str = ""
    named: dict[str, Context] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: tuple[tuple[str, ...], ...] = ()
    """Keys that this version does not know, and leaves as they are."""
    lines: tuple[Statement, ...] = ()

    def where(self, *keys: str) -> str:
        """The file, the line and the key, for an error or a note."""
        return f"{self.path} line {line_of(self.lines, keys)}, {written_keys(keys)}"

    def one(self, name: str, named_by: str) -> Context:
        """A context by its name. Raises SettingsError, which says what gave the name."""
        if name in self.named:
            return self.named[name]
        if not self.named:
            hint = "there is none yet; make one with: penstock context add"
        else:
            hint = _instead(name, self.named)
        raise SettingsError(f"{named_by}: there is no context {name!r} in {self.path}: {hint}")

    def current_one(self) -> Context | None:
        """The current context; None if none is chosen. Raises SettingsError."""
        return self.one(self.current, self.where("current")) if self.current else None

    def wrong_names(self) -> list[str]:
        """Each name of a context that is not there, with its place in the file."""
        used: list[tuple[tuple[str, ...], str]] = []
        if self.current:
            used.append((("current",), self.current))
        used += [
            (("groups", group), name) for group, names in self.groups.items() for name in names
        ]
        return [
            f"{self.where(*keys)}: there is no context {name!r}: {_instead(name, self.named)}"
            for keys, name in used
            if name not in self.named
        ]

    def unknown_keys(self) -> list[str]:
        """A line for each, because it may be a slip of the pen."""
        return [
            f"{self.where(*keys)} is a key that this version does not know: "
            f"{_instead(keys[-1], KEYS if len(keys) == 3 else _TOP)}"
            for keys in self.unknown
        ]


def _instead(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"


def check_name(name: str, kind: str = "a context") -> str:
    """The same name. Raises SettingsError for one that nothing can have."""
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} cannot be the name of {kind}: write a letter or digit, then letters, "
            "digits, '.', '_' and '-', at most 63"
        )
    return name


class _Reader:
    """Reads one file's values, and collects each mistake with its place."""

    def __init__(self, path: Path, lines: list[Statement]) -> None:
        self.found = Contexts(path, lines=tuple(lines))
        self.mistakes: list[str] = []

    def wrong(self, keys: tuple[str, ...], text: str) -> None:
        self.mistakes.append(f"{self.found.where(*keys)}: {text}")

    def table(self, value: Any, *keys: str) -> dict[str, Any]:  # noqa: ANN401
        if isinstance(value, dict):
            return value
        self.wrong(keys, "must be a table")
        return {}

    def text(self, value: Any, *keys: str) -> str:  # noqa: ANN401
        if isinstance(value, str) and value and "\0" not in value:
            return value
        self.wrong(keys, "must be text in quotes, and not empty")
        return ""

    def name(self, name: str, keys: tuple[str, ...], kind: str) -> None:
        try:
            check_name(name, kind)
        except SettingsError as error:
            self.wrong(keys, str(error))


def parsed(text: str, path: Path) -> Contexts:
    """The contexts of a file's text; relative paths in it begin at the file's directory. Raises
    SettingsError with every mistake, each with file, line and key."""
    try:
        lines = statements(text)
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also int() on very long numbers
        raise SettingsError(f"{path}: {error}") from error
    reader = _Reader(path, lines)
    current = reader.text(values["current"], "current") if "current" in values else ""
    groups = _groups(reader, values.get("groups", {}))
    named = {}
    unknown: list[tuple[str, ...]] = [(key,) for key in values if key not in _TOP]
    for name, value in reader.table(values.get("contexts", {}), "contexts").items():
        keys = ("contexts", name)
        reader.name(name, keys, "a context")
        table = reader.table(value, *keys)
        unknown += [(*keys, key) for key in table if key not in KEYS]
        of = tuple(group for group, names in groups.items() if name in names)
        named[name] = Context(name, _context_values(reader, name, table), of)
    if reader.mistakes:
        raise SettingsError("; ".join(reader.mistakes))
    return Contexts(path, current, named, groups, tuple(unknown), tuple(lines))


def _groups(reader: _Reader, value: Any) -> dict[str, tuple[str, ...]]:  # noqa: ANN401
    groups = {}
    for group, names in reader.table(value, "groups").items():
        keys = ("groups", group)
        reader.name(group, keys, "a group")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            reader.wrong(keys, "must be a list of contexts' names")
            continue
        if len(set(names)) < len(names):
            reader.wrong(keys, "names a context twice")
        groups[group] = tuple(names)
    return groups


def _expanded(text: str) -> Path:
    """With the home directory in the place of ``~``. Raises RuntimeError if there is none."""
    first, slash, rest = text.partition("/")
    if first == "~" and current().hosted:
        text = f"{home(current().environment)}{slash}{rest}"
    return Path(text).expanduser()


def _context_values(reader: _Reader, name: str, table: dict[str, Any]) -> dict[str, str]:
    values: dict[str, str] = {}
    for key in KEYS:
        keys = ("contexts", name, key)
        if key not in table or not (text := reader.text(table[key], *keys)):
            continue
        if key in _CHECKS:
            try:
                _CHECKS[key](text)
            except SettingsError as error:
                reader.wrong(keys, str(error))
            values[key] = text
        else:
            try:
                values[key] = str(reader.found.path.parent / _expanded(text))
            except RuntimeError:  # pathlib's, of a user that is not there
                reader.wrong(keys, f"there is no home directory for {text.split('/')[0]!r}")
    for one, other in (("certificate", "key"), ("key", "certificate"), ("passphrase_file", "key")):
        if one in table and other not in table:
            # A certificate and its key are one identity, so they come from one place.
            reader.wrong(("contexts", name, one), f"needs {other} beside it")
    return values
