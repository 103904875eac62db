"""Argument grammars as the policy file writes them (pure)."""

from collections.abc import Callable
from typing import Final

from .grammar import MAX_ARGUMENTS, Grammar, GrammarError
from .patterns import PatternError, parse_pattern
from .slots import (
    EnumSlot,
    IntSlot,
    LiteralSlot,
    OptionalSlot,
    PathSlot,
    PatternSlot,
    RepeatSlot,
    Slot,
    may_be_empty,
)
from .toml_tables import Table, parse_path, show, valid_user

_KINDS: Final = ("literal", "int", "enum", "pattern", "path", "optional", "repeat")
_MAX_DEPTH: Final = 8
_INT64: Final = 2**63


def parse_grammar(command: Table, key: str) -> Grammar:
    """The grammar under a command's key; none if the key is absent. Mistakes are recorded."""
    values: list[object] = command.typed(key, list, "a list of slots", [], required=False)
    slots = _sequence(command, key, values, 0)
    try:
        return Grammar(slots)
    except GrammarError as error:
        command.wrong(key, str(error), "lower the max of a repeat")
        return Grammar()


def _sequence(table: Table, key: str, values: object, depth: int) -> tuple[Slot, ...]:
    """Slots in a row, or a single one. Those with mistakes are left out."""
    if depth > _MAX_DEPTH:
        table.wrong(key, "slots are nested too deeply", f"nest at most {_MAX_DEPTH} levels")
        return ()
    slots: list[Slot] = []
    where = table.where(key)
    if isinstance(values, list):
        places = [(f"{where}[{number}]", value) for number, value in enumerate(values)]
    else:
        places = [(where, values)]
    for place, value in places:
        if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _KINDS:
            table.mistakes.append(
                f"{place}: {show(value)} is not a slot; write a table with one key of "
                f"{', '.join(_KINDS)}"
            )
            continue
        slot = _slot(Table(value, place, table.mistakes), next(iter(value)), depth)
        if slot is not None:
            slots.append(slot)
    return tuple(slots)


def _slot(table: Table, kind: str, depth: int) -> Slot | None:
    if kind in ("optional", "repeat"):
        return _optional(table, depth) if kind == "optional" else _repeat(table, depth)
    before = len(table.mistakes)
    slot = _LEAVES[kind](table)
    return slot if len(table.mistakes) == before else None


def _literal(table: Table) -> Slot:
    return LiteralSlot(table.text("literal"))


def _enum(table: Table) -> Slot:
    values = table.texts("enum")
    if table.value("enum") == []:
        table.wrong("enum", "is empty", "list the values that are granted")
    for value in sorted({value for value in values if values.count(value) > 1}):
        table.wrong("enum", f"{show(value)} stands twice", "remove one")
    return EnumSlot(tuple(values))


def _int(table: Table) -> Slot:
    bounds = table.table("int")
    least = bounds.integer("min", 0, -_INT64, _INT64 - 1, required=True)
    most = bounds.integer("max", 0, -_INT64, _INT64 - 1, required=True)
    bounds.finish()
    if least > most and bounds.has("min") and bounds.has("max"):
        table.wrong("int", f"min {least} is more than max {most}", "swap them")
    return IntSlot(least, most)


def _pattern(table: Table) -> Slot | None:
    source = table.text("pattern")
    try:
        return PatternSlot(parse_pattern(source))
    except PatternError as error:
        table.wrong("pattern", show(source), str(error))
        return None


def _path(table: Table) -> Slot:
    inner = table.table("path")
    root = inner.parsed(
        "root",
        parse_path,
        "/",
        required=True,
        remedy='write the directory as an absolute path, such as "/srv"',
    )
    owners = inner.texts("owners")
    for owner in owners:
        if not valid_user(owner):
            inner.wrong("owners", f"{show(owner)} is no user", "write names or numeric ids")
    inner.finish()
    if inner.value("root") == "/":
        inner.wrong("root", "'/' would grant every file", "name the directory that is meant")
    return PathSlot(root, tuple(dict.fromkeys(owners)))


def _optional(table: Table, depth: int) -> Slot | None:
    slots = _inner(table, "optional", depth)
    return OptionalSlot(slots) if slots else None


def _repeat(table: Table, depth: int) -> Slot | None:
    inner = table.table("repeat")
    if not inner.has("slot"):
        inner.wrong("slot", "is missing", "add the slot that is repeated")
    slots = _inner(inner, "slot", depth) if inner.has("slot") else ()
    least = inner.integer("min", 0, 0, MAX_ARGUMENTS)
    most = inner.integer("max", 1, 1, MAX_ARGUMENTS, required=True)
    inner.finish()
    if least > most and inner.has("max"):
        inner.wrong("min", f"{least} is more than max {most}", "swap them")
    if slots and all(may_be_empty(slot) for slot in slots):
        inner.wrong("slot", "may be empty itself", "leave the inner optional out; use min = 0")
    return RepeatSlot(slots, least, most) if slots else None


def _inner(table: Table, key: str, depth: int) -> tuple[Slot, ...]:
    """One slot, or a list of slots in a row."""
    value = table.value(key)
    if value == []:
        table.wrong(key, "is empty", "write a slot or a list of slots")
    return _sequence(table, key, value, depth + 1)


_LEAVES: Final[dict[str, Callable[[Table], Slot | None]]] = {
    "literal": _literal,
    "enum": _enum,
    "int": _int,
    "pattern": _pattern,
    "path": _path,
}
