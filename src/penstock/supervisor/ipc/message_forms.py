"""What a field of a message can be, and a message: checks that the wire is held to (pure).

Each field has its type, and a message has no other fields. A message of another form comes from a
peer that is broken or was taken over, so nothing of it is obeyed (docs/protocol.md). Which field
has which check stands beside it, in the records.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeGuard

Check = Callable[[object], bool]

MAX_OPAQUE_BYTES: Final = 4096
_HEX: Final = frozenset("0123456789abcdef")


def text(value: object) -> TypeGuard[str]:
    """Any text, also an empty one."""
    return isinstance(value, str)


def flag(value: object) -> bool:
    """True or false, and no number."""
    return isinstance(value, bool)


def count(value: object) -> TypeGuard[int]:
    """A whole number from 0, and neither true nor 1.0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def process_id(value: object) -> bool:
    """A whole number from 1."""
    return count(value) and value > 0


def number(value: object) -> TypeGuard[float]:
    """A finite number from 0, and neither true nor a text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        found = float(value)
    except OverflowError:
        return False
    return math.isfinite(found) and found >= 0


def signal_number(value: object) -> bool:
    """A whole number from 1 to 64, the signals of Linux."""
    return count(value) and 1 <= value <= 64


def job_id(value: object) -> bool:
    """32 digits in lower-case hexadecimal."""
    return isinstance(value, str) and len(value) == 32 and set(value) <= _HEX


def opaque(value: object) -> bool:
    """A text of at most MAX_OPAQUE_BYTES."""
    return text(value) and len(value.encode("utf-8", "surrogatepass")) <= MAX_OPAQUE_BYTES


def above_zero(value: object) -> bool:
    """A number as above, but not 0."""
    return number(value) and value > 0


def or_null(check: Check) -> Check:
    """null, or what the check takes."""
    return lambda value: value is None or check(value)


def one_of(*values: str) -> Check:
    """A check that takes one of these texts, and nothing else."""
    return lambda value: isinstance(value, str) and value in values


def list_of(check: Check, most: int | None = None) -> Check:
    """A list, each element as the check has it."""
    return lambda value: (
        isinstance(value, list)
        and (most is None or len(value) <= most)
        and all(check(each) for each in value)
    )


def mapping(check: Check, keys: frozenset[str] | None = None) -> Check:
    """An object with any keys, or with some of ``keys``; each value as the check has it."""
    return lambda value: (
        isinstance(value, dict)
        and (keys is None or value.keys() <= keys)
        and all(check(each) for each in value.values())
    )


def names(known: frozenset[str], *needed: str) -> Check:
    """A list of different names out of ``known``, all ``needed`` among them."""
    return lambda value: (
        isinstance(value, list)
        and list_of(text)(value)
        and len(set(value)) == len(value)
        and set(needed) <= set(value)
        and known.issuperset(value)
    )


@dataclass(frozen=True, slots=True)
class Form:
    """Fields by name; those of ``optional`` may be left out, and nothing else may be there."""

    needed: Mapping[str, Check] = field(default_factory=dict)
    optional: Mapping[str, Check] = field(default_factory=dict)

    def __call__(self, value: object) -> bool:
        """Whether ``value`` is an object of this form."""
        return isinstance(value, dict) and self.mistake(value) is None

    def mistake(self, value: Mapping[str, object]) -> str | None:
        """What is wrong with it, for a log; None if nothing is."""
        for name, check in (*self.needed.items(), *self.optional.items()):
            if name not in value:
                if name in self.needed:
                    return f"{name} is missing"
            elif not check(value[name]):
                return f"{name} has not its form"
        for name in value.keys() - self.needed.keys() - self.optional.keys():
            return f"{name[:64]!r} is no field of it"
        return None
