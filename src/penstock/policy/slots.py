"""The parts that an argument grammar is made of (pure).

Each leaf decides about one whole argument. An argument that begins with ``-`` can change the
meaning of a whole command line. So no leaf takes one unless the administrator wrote it: as a
literal, an enum's value, a negative bound, or a literal dash in a pattern.

Every leaf has ``takes`` (may this argument stand here?), ``usage`` (its part of a usage line) and
``describe`` (itself within a refusal). What holds other slots has ``usage``.
"""

import shlex
from dataclasses import dataclass
from typing import Final, NamedTuple

from .patterns import Pattern

MAX_PATH: Final = 4096  # PATH_MAX of linux/limits.h
_SHOWN_VALUES: Final = 12
_SHOWN_CHARACTERS: Final = 40


class PathArgument(NamedTuple):
    """An argument that is a path: which one, beneath what, and where there.

    ``relative`` has neither "..", "." nor empty components; the root itself is ``"."``.
    """

    position: int
    root: str
    relative: str


@dataclass(frozen=True, slots=True)
class LiteralSlot:
    """Exactly this text."""

    text: str

    def takes(self, argument: str) -> bool:
        return argument == self.text

    def usage(self) -> str:
        return _quoted(self.text)

    def describe(self) -> str:
        return _quoted(self.text)


@dataclass(frozen=True, slots=True)
class EnumSlot:
    """One of these texts."""

    values: tuple[str, ...]

    def takes(self, argument: str) -> bool:
        return argument in self.values

    def usage(self) -> str:
        text = "|".join(_quoted(value) for value in self.values)
        return f"({text})" if len(self.values) > 1 else text

    def describe(self) -> str:
        shown = ", ".join(_quoted(value) for value in self.values[:_SHOWN_VALUES])
        more = ", ..." if len(self.values) > _SHOWN_VALUES else ""
        return f"one of {shown}{more}"


@dataclass(frozen=True, slots=True)
class IntSlot:
    """A decimal integer, both bounds included, written as Python's str() writes it."""

    least: int
    most: int

    def takes(self, argument: str) -> bool:
        # One number has one spelling: "+5", "007", " 5" and other scripts' digits could
        # mean something else to the program than they mean here.
        digits = argument.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
            return False
        value = int(argument)
        return str(value) == argument and self.least <= value <= self.most

    def usage(self) -> str:
        return f"INT({self.least}..{self.most})"

    def describe(self) -> str:
        return f"an integer from {self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class PatternSlot:
    """A text that the whole pattern matches."""

    pattern: Pattern

    def takes(self, argument: str) -> bool:
        return self.pattern.matches(argument)

    def usage(self) -> str:
        return f"TEXT({self.pattern.source})"

    def describe(self) -> str:
        return f"a text that matches {self.pattern.source}"


@dataclass(frozen=True, slots=True)
class PathSlot:
    """A path beneath ``root``: absolute, or relative to it.

    Only the text is checked here. The supervisor resolves the path as it starts the program,
    without following symbolic links, and passes the result, always absolute, in its place.
    ``owners`` are names or numbers of the users, besides root, that may own directories on the
    way.
    """

    root: str
    owners: tuple[str, ...] = ()

    def relative(self, argument: str) -> str | None:
        """The path relative to the root, ``"."`` for the root, None if it is not granted."""
        if not argument or argument.startswith("-") or len(argument) > MAX_PATH:
            return None
        parts = _parts(argument)
        if argument.startswith("/"):
            root = _parts(self.root)
            if parts[: len(root)] != root:
                return None
            parts = parts[len(root) :]
        if ".." in parts or "\0" in argument:
            return None
        return "/".join(parts) or "."

    def takes(self, argument: str) -> bool:
        return self.relative(argument) is not None

    def usage(self) -> str:
        return f"PATH({self.root})"

    def describe(self) -> str:
        return f"a path beneath {self.root} (no '..', not beginning with '-')"


@dataclass(frozen=True, slots=True)
class OptionalSlot:
    """These slots one after another, or none of them."""

    slots: tuple["Slot", ...]

    def usage(self) -> str:
        text = sequence_usage(self.slots)
        if len(self.slots) == 1 and isinstance(self.slots[0], EnumSlot):
            text = text.removeprefix("(").removesuffix(")")
        return f"[{text}]"


@dataclass(frozen=True, slots=True)
class RepeatSlot:
    """These slots one after another, ``least`` to ``most`` times."""

    slots: tuple["Slot", ...]
    least: int
    most: int

    def usage(self) -> str:
        text = sequence_usage(self.slots)
        if len(self.slots) > 1:
            text = f"({text})"
        return f"{text}{{{self.least},{self.most}}}"


Leaf = LiteralSlot | EnumSlot | IntSlot | PatternSlot | PathSlot
Slot = Leaf | OptionalSlot | RepeatSlot


def sequence_usage(slots: tuple[Slot, ...]) -> str:
    """How slots in a row are shown to people."""
    return " ".join(slot.usage() for slot in slots)


def may_be_empty(slot: Slot) -> bool:
    """Does the slot match no argument at all?"""
    if isinstance(slot, OptionalSlot):
        return True
    if isinstance(slot, RepeatSlot):
        return slot.least == 0 or all(may_be_empty(inner) for inner in slot.slots)
    return False


def most_arguments(slots: tuple[Slot, ...]) -> int:
    """How many arguments the slots match at most."""
    total = 0
    for slot in slots:
        if isinstance(slot, RepeatSlot):
            total += slot.most * most_arguments(slot.slots)
        elif isinstance(slot, OptionalSlot):
            total += most_arguments(slot.slots)
        else:
            total += 1
    return total


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _quoted(text: str) -> str:
    if len(text) > _SHOWN_CHARACTERS:
        text = text[: _SHOWN_CHARACTERS - 3] + "..."
    return shlex.quote(text) if text.isprintable() else repr(text)
