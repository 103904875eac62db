"""Records as messages (pure): each field says how it stands in one, and the form of a message, its
writing and its reading all come from that.

A field's type is ``Annotated[what the record has, Wire(...)]``. A record inside a record is marked
``BESIDE``: in the message its fields stand beside the others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar, get_args, get_type_hints

from .message_forms import Check, Form

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Wire:
    """``read`` makes of a message's value what the record has, ``write`` the other way; None: they
    are the same. ``name`` is the message's, where it is not the record's. ``optional``: a peer of
    an earlier version leaves it out, and the record's default counts.
    """

    check: Check
    read: Callable[[Any], Any] | None = None
    write: Callable[[Any], Any] | None = None
    name: str = ""
    optional: bool = False


BESIDE: Final = "beside"


@dataclass(frozen=True, slots=True)
class _Layout:
    """``beside`` are records by the attribute that has them."""

    form: Form
    fields: Mapping[str, Wire]
    beside: Mapping[str, type]


_LAYOUTS: Final[dict[type, _Layout]] = {}


def _layout(record: type) -> _Layout:
    found = _LAYOUTS.get(record)
    if found is None:
        found = _LAYOUTS[record] = _read_layout(record)
    return found


def _read_layout(record: type) -> _Layout:
    hints = get_type_hints(record, include_extras=True)
    wires: dict[str, Wire] = {}
    beside: dict[str, type] = {}
    needed: dict[str, Check] = {}
    optional: dict[str, Check] = {}
    for each in fields(record):
        of, how = get_args(hints[each.name])
        if how is BESIDE:
            beside[each.name] = of
            inner = _layout(of).form
            needed.update(inner.needed)
            optional.update(inner.optional)
            continue
        wires[each.name] = how
        (optional if how.optional else needed)[how.name or each.name] = how.check
    return _Layout(Form(needed, optional), wires, beside)


def form_of(record: type) -> Form:
    """The form that a message must have so that ``read_record`` may read it as this record."""
    return _layout(record).form


def write_record(record: object) -> dict[str, object]:
    """The fields of its message, without ``type``; ``read_record`` is the way back.

    Of a record beside it, those that its declared type has: a subclass keeps its own to itself.
    """
    return _written(record, _layout(type(record)))


def _written(record: object, layout: _Layout) -> dict[str, object]:
    found: dict[str, object] = {}
    for attribute, of in layout.beside.items():
        found.update(_written(getattr(record, attribute), _layout(of)))
    for attribute, wire in layout.fields.items():
        value = getattr(record, attribute)
        found[wire.name or attribute] = value if wire.write is None else wire.write(value)
    return found


def read_record(
    record: type[Record], message: Mapping[str, object], *, complete: bool = True
) -> Record:
    """The record of a message that has its form; of other fields nothing is read. Unless it is
    ``complete``, every field may be left out for which the record has a default."""
    layout = _layout(record)
    found: dict[str, Any] = {
        attribute: read_record(of, message, complete=complete)
        for attribute, of in layout.beside.items()
    }
    for attribute, wire in layout.fields.items():
        name = wire.name or attribute
        if name not in message and (wire.optional or not complete):
            continue
        value = message[name]
        found[attribute] = value if wire.read is None else wire.read(value)
    return record(**found)
