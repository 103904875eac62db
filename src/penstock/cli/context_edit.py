"""Changes of the text of ``contexts.toml`` that leave all else as its user has written it (pure).

A change moves whole statements (``toml_statements``) or one value, and is then read again: it must
mean what was asked for, and nothing else may have changed. A form that we cannot change so, as an
inline table, is refused and named, so that no file is ever damaged.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from .flags import SettingsError
from .toml_statements import Statement, line_of, statements, written_keys, written_string
from .user_contexts import KEYS

_STRING: Final = r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'"
# Of a list of names: strings, comments, commas, and what stands between.
_LIST_PARTS: Final = re.compile(rf"{_STRING}|#[^\n]*|,|\s+|.")


def with_context(text: str, name: str, values: Mapping[str, str]) -> str:
    """Adds a context, or gives one that is there these values and no others of KEYS."""
    found = statements(text)
    mine = [each for each in found if each.keys[:2] == ("contexts", name)]

    def wanted(data: dict[str, Any]) -> None:
        table = data.setdefault("contexts", {}).setdefault(name, {})
        for key in KEYS:
            table.pop(key, None)
        table.update(values)

    lines = [f"{key} = {written_string(values[key])}\n" for key in KEYS if key in values]
    if not mine:
        head = f"[{written_keys(('contexts', name))}]\n"
        return _checked(text, _ended(text) + head + "".join(lines), wanted, ("contexts", name))
    changed = "".join(_replaced(found, mine, name, values))
    return _checked(text, changed, wanted, ("contexts", name))


def _replaced(
    found: Sequence[Statement], mine: Sequence[Statement], name: str, values: Mapping[str, str]
) -> list[str]:
    """All texts, with each known key of a context replaced, removed or added behind its last."""
    left = dict(values)
    texts = []
    for each in found:
        text = each.text
        if each in mine and not each.header and len(each.keys) == 3 and each.keys[2] in KEYS:
            value = left.pop(each.keys[2], None)
            text = "" if value is None else _with_value(text, value)
        texts.append(text)
        if each is mine[-1]:
            start = ("contexts", name)[_depth(found, each) :]
            texts[-1] = _line_end(texts[-1]) + "".join(
                f"{written_keys((*start, key))} = {written_string(value)}\n"
                for key, value in left.items()
            )
    return texts


def _depth(found: Sequence[Statement], statement: Statement) -> int:
    """How many keys the header above a statement, or itself, gives to what stands below it."""
    depth = 0
    for each in found:
        if each.header:
            depth = len(each.keys)
        if each is statement:
            break
    return depth


def with_current(text: str, name: str) -> str:
    """Makes a context the current one."""
    found = statements(text)

    def wanted(data: dict[str, Any]) -> None:
        data["current"] = name

    texts = [
        _with_value(each.text, name) if each.keys == ("current",) else each.text for each in found
    ]
    if all(each.keys != ("current",) for each in found):
        at = next((index for index, each in enumerate(found) if each.header), len(found))
        while at and found[at - 1].text.lstrip().startswith("#"):
            at -= 1  # a comment right above a table is about that table
        above = "".join(texts[:at])
        texts = [_line_end(above), f"current = {written_string(name)}\n", *texts[at:]]
        if texts[2:] and texts[2].strip():
            texts.insert(2, "\n")
    return _checked(text, "".join(texts), wanted, ("current",))


def without_current(text: str) -> str:
    """Makes no context the current one."""

    def wanted(data: dict[str, Any]) -> None:
        data.pop("current", None)

    texts = [each.text for each in statements(text) if each.keys != ("current",)]
    return _checked(text, "".join(texts), wanted, ("current",))


def without_context(text: str, name: str) -> str:
    """Removes a context. Comments stay, but for those between its own lines."""
    found = statements(text)

    def wanted(data: dict[str, Any]) -> None:
        data.get("contexts", {}).pop(name, None)

    mine = [index for index, each in enumerate(found) if each.keys[:2] == ("contexts", name)]
    gone = set(mine)
    for first, last in pairwise(mine):
        if not any(each.keys for each in found[first + 1 : last]):
            gone.update(range(first, last))
    texts: list[str] = []
    for index, each in enumerate(found):
        # Of the empty lines around what is gone one is enough.
        doubled = index - 1 in gone and not each.text.strip() and not "".join(texts[-1:]).strip()
        if index not in gone and not doubled:
            texts.append(each.text)
    return _checked(text, "".join(texts), wanted, ("contexts", name))


def with_member(text: str, group: str, name: str) -> str:
    """Adds a context to a group, which is made if it is not there."""
    found = statements(text)
    keys = ("groups", group)

    def wanted(data: dict[str, Any]) -> None:
        data.setdefault("groups", {}).setdefault(group, []).append(name)

    member = written_string(name)
    if any(each.keys == keys for each in found):
        changed = "".join(
            _with_item(each.text, member) if each.keys == keys else each.text for each in found
        )
        return _checked(text, changed, wanted, keys)
    texts = [each.text for each in found]
    tables = [index for index, each in enumerate(found) if each.keys[:1] == ("groups",)]
    if not tables:
        head = _ended(text) + "[groups]\n"
        return _checked(text, f"{head}{written_keys((group,))} = [{member}]\n", wanted, keys)
    last = tables[-1]
    start = keys[_depth(found, found[last]) :]
    texts[last] = _line_end(texts[last]) + f"{written_keys(start)} = [{member}]\n"
    return _checked(text, "".join(texts), wanted, keys)


def without_member(text: str, group: str, name: str) -> str:
    """Takes a context out of a group, and removes a group that is empty then."""
    keys = ("groups", group)

    def wanted(data: dict[str, Any]) -> None:
        data["groups"][group].remove(name)
        if not data["groups"][group]:
            del data["groups"][group]

    texts = []
    for each in statements(text):
        if each.keys != keys:
            texts.append(each.text)
        elif tomllib.loads(each.text) and len(_names(each)) > 1:
            texts.append(_without_item(each.text, name))
    return _checked(text, "".join(texts), wanted, keys)


def _names(statement: Statement) -> list[str]:
    """The list that a statement assigns."""
    value: Any = tomllib.loads(statement.text)
    while isinstance(value, dict):
        (value,) = value.values()
    return list(value)


def _parts(text: str) -> list[str]:
    return _LIST_PARTS.findall(text)


def _with_item(text: str, item: str) -> str:
    """A list with one more string behind its last; its comments stay."""
    parts = _parts(text)
    close = max(index for index, part in enumerate(parts) if part == "]")
    last = close - 1
    while parts[last].isspace() or parts[last].startswith("#"):
        last -= 1
    if parts[last] == "[":
        parts[last] += item
    else:
        # A list that has an item a line gets another line.
        ahead = parts[last - 1] if parts[last] != "," else parts[last - 2]
        gap = ahead if "\n" in ahead else " "
        comma = "" if parts[last] == "," else ","
        parts[last] += f"{comma}{gap}{item}" + ("," if parts[last] == "," else "")
    return "".join(parts)


def _without_item(text: str, name: str) -> str:
    """A list without one string and the comma behind it; its comments stay."""
    parts = _parts(text)
    # The first part that is a string may be a key, so only what is behind the bracket counts.
    begin = parts.index("[")
    at = next(
        index
        for index, part in enumerate(parts)
        if index > begin and part[0] in "\"'" and tomllib.loads(f"x = {part}")["x"] == name
    )
    end = at + 1
    while parts[end].isspace():
        end += 1
    end = end + 1 if parts[end] == "," else at + 1
    while end < len(parts) and parts[end].isspace() and "\n" not in parts[end]:
        end += 1
    if "\n" in parts[at - 1] and parts[end].startswith("\n"):
        at -= 1  # the string had a line of its own
    return "".join(parts[:at] + parts[end:])


def _with_value(text: str, value: str) -> str:
    """An assignment of a string with another one; what stands around it stays."""
    return re.sub(
        rf"(=\s*)({_STRING})", lambda match: match[1] + written_string(value), text, count=1
    )


def _line_end(text: str) -> str:
    return text + "\n" if text and not text.endswith("\n") else text


def _ended(text: str) -> str:
    """A text that a table can follow, behind an empty line."""
    text = _line_end(text)
    return text + "\n" if text.strip() and not text.endswith("\n\n") else text


def _checked(
    before: str, after: str, change: Callable[[dict[str, Any]], None], keys: tuple[str, ...]
) -> str:
    """``after``, if it means what ``before`` does with ``change``. Raises SettingsError."""
    wanted = tomllib.loads(before)
    change(wanted)
    try:
        got = tomllib.loads(after)
    except ValueError:
        got = None
    if got is None or _filled(got) != _filled(wanted):
        line = line_of(statements(before), keys)
        raise SettingsError(
            f"line {line}: {written_keys(keys)} is written in a form that only an editor can change"
        )
    return after


def _filled(table: Any) -> Any:  # noqa: ANN401  TOML's own
    """The same without tables that are empty, because a header above nothing means nothing."""
    if not isinstance(table, dict):
        return table
    inner = {key: _filled(value) for key, value in table.items()}
    return {key: value for key, value in inner.items() if value != {}}
