"""Counts the fields of a message in its wire form, before it is parsed (pure).

Theory of operation. A field of protobuf is a tag and a value, and an empty one is two bytes that
become an object. Only tags and lengths are read here, and counting ends with the first field that
is one too many, so that a rejected message costs no more than an allowed one, however long it is. A
malformed message is rejected here too, so that the parser cannot find more fields in it than were
counted. https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from .call_errors import Refused, StatusCode
from .limits import MessageLimits

_VARINT, _FIXED_64, _LENGTH, _BEGIN_GROUP, _END_GROUP, _FIXED_32 = range(6)
_SIZES: Final = {_FIXED_64: 8, _FIXED_32: 4, _BEGIN_GROUP: 0, _END_GROUP: 0}
_GROUPS: Final = {_BEGIN_GROUP: 1, _END_GROUP: -1}
_OF_LENGTH: Final = (
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_MESSAGE,
)
_MOST_TAG_BYTES: Final = 5
_MOST_VARINT_BYTES: Final = 10
# Some 0.3 us each, so that a slice stays well below a millisecond, as a slice of frames does.
_FIELDS_A_SLICE: Final = 1000


_Fields: TypeAlias = "dict[int, tuple[tuple[int, ...], _Fields | None, bool]]"
"""By tag, fields that are more than one of ``MessageLimits.fields``: their rules' numbers, of a
message the fields inside, and whether they are packed. Plain tuples, looked at for each field.
"""


@dataclass(slots=True)
class FieldCounter:
    """Checks messages of one type against its bounds. ``descriptor`` is that type's."""

    descriptor: Any
    limits: MessageLimits
    _fields: _Fields = field(init=False)

    def __post_init__(self) -> None:
        rules: dict[str, tuple[int, ...]] = {}
        for index, (paths, _) in enumerate(self.limits.elements):
            for path in paths:
                rules[path] = (*rules.get(path, ()), index)
        known = set[str]()
        self._fields = _fields_of(self.descriptor, "", rules, {}, known)
        if unknown := rules.keys() - known:
            raise ValueError(
                f"{self.descriptor.full_name} has no text, bytes or message {min(unknown)}"
            )

    def check(self, data: bytes) -> None:
        """Raises Refused (INVALID_ARGUMENT) if fields are too many or ``data`` is malformed."""
        for _ in self.ends(data):
            pass

    def ends(self, data: bytes) -> Iterator[int]:
        """As ``check``, in slices of a bounded length: yields how far ``data`` can be parsed.

        Each is the end of a field of the message itself, not of a nested one; the last is the end
        of ``data``. The same end comes again when a slice counted a part of a long field. Raises
        Refused as ``check``.
        """
        try:
            yield from self._count(data)
        except IndexError:  # a length or a tag that extends beyond the end
            raise self._malformed() from None
        yield len(data)

    def _count(self, data: bytes) -> Iterator[int]:
        left = self.limits.fields
        room = [most for _, most in self.limits.elements]
        fields = self._fields
        position, end = 0, len(data)
        outer: list[tuple[int, _Fields]] = []
        groups = 0  # open ones, because what is inside cannot be parsed without its end
        whole = 0  # up to there all fields of the message itself have ended
        slice_left = _FIELDS_A_SLICE
        while True:
            while position < end:
                if not slice_left:
                    slice_left = _FIELDS_A_SLICE
                    yield whole if outer or groups else position
                slice_left -= 1
                start = position
                tag = data[position]
                position += 1
                if tag > 0x7F:
                    tag, position = self._varint(data, position - 1, _MOST_TAG_BYTES)
                kind = tag & 7
                if kind == _LENGTH:
                    size = data[position]
                    position += 1
                    if size > 0x7F:
                        size, position = self._varint(data, position - 1, _MOST_TAG_BYTES)
                    if tag in fields:
                        rules, inside, packed = fields[tag]
                        if rules:
                            for rule in rules:
                                room[rule] -= 1
                                if room[rule] < 0:
                                    names, most = self.limits.elements[rule]
                                    what = f"elements of {' and '.join(names)}"
                                    raise self._too_many(most, what)
                        else:
                            left -= size if packed and size else 1
                        if inside is not None and size:
                            if position + size > end:
                                raise self._malformed()
                            if not outer and not groups:
                                whole = start
                            outer.append((end, fields))
                            fields, end = inside, position + size
                        else:
                            position += size
                    else:
                        left -= 1
                        position += size
                else:
                    left -= 1
                    if kind == _VARINT:
                        _, position = self._varint(data, position, _MOST_VARINT_BYTES)
                    elif kind in _SIZES:
                        position += _SIZES[kind]
                        if kind in _GROUPS and not outer:
                            if not groups:
                                whole = start
                            groups += _GROUPS[kind]
                            if groups < 0:
                                raise self._malformed()
                    else:
                        raise self._malformed()
                if left < 0:
                    raise self._too_many(self.limits.fields, "fields")
            if position != end:
                raise self._malformed()
            if not outer:
                return
            end, fields = outer.pop()

    def _varint(self, data: bytes, position: int, most_bytes: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 7 * most_bytes, 7):
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise self._malformed()

    def _malformed(self) -> Refused:
        return Refused(
            "unparsable",
            StatusCode.INVALID_ARGUMENT,
            f"the message is not a {self.descriptor.full_name}",
        )

    def _too_many(self, most: int, what: str) -> Refused:
        return Refused(
            "message_fields",
            StatusCode.INVALID_ARGUMENT,
            f"the message has too many fields: a {self.descriptor.full_name} "
            f"may have at most {most} {what}",
        )


def _fields_of(
    descriptor: Descriptor,
    prefix: str,
    rules: Mapping[str, tuple[int, ...]],
    outside: Mapping[str, _Fields],
    known: set[str],
) -> _Fields:
    """By tag, the fields that need a look: those with a rule, with fields inside, or packed.

    In a message nested in one of its own type fields are counted, but no rules apply.
    """
    found: _Fields = {}
    outside = {**outside, descriptor.full_name: found}
    for each in descriptor.fields:
        path = prefix + each.name
        inside = None
        if each.message_type is not None:
            inside = outside.get(each.message_type.full_name)
            if inside is None:
                inside = _fields_of(each.message_type, f"{path}.", rules, outside, known)
        packed = each.is_repeated and each.type not in _OF_LENGTH
        if each.type in _OF_LENGTH:
            known.add(path)
        mine = rules.get(path, ())
        if mine or inside is not None or packed:
            found[each.number << 3 | _LENGTH] = (mine, inside, packed)
    return found
