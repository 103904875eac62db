r"""A linear subset of regular expressions, for one argument (pure).

Theory of operation. The administrator's pattern is matched against what a client sends, so
matching must not explode: Python's ``re`` took 3.3 s for ``([a-z]+-?)+\.log`` on 27 characters.
Here there are literals and character classes, each with an optional count ``{n}`` or ``{m,n}``,
and nothing else: no groups, alternation, backreferences, anchors or unbounded repeats. Such a
pattern unrolls into a row of places. Matching steps the set of places where it could stand, an
integer with one bit for each, one step a character, and always against the whole argument. So its
time is bounded by characters times places, whatever the client sends.
"""

import functools
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

MAX_LENGTH: Final = 256
_MAX_SOURCE: Final = 2048
_ASCII: Final = 128

_SHORTHANDS: Final = {
    "d": ((ord("0"), ord("9")),),
    "w": (
        (ord("0"), ord("9")),
        (ord("A"), ord("Z")),
        (ord("_"), ord("_")),
        (ord("a"), ord("z")),
    ),
}
_REFUSED: Final = {
    "(": "groups are not supported; write the elements one after another, or use several slots",
    ")": "groups are not supported; write '\\)' for the character",
    "|": "alternatives are not supported; use an enum slot, or write '\\|' for the character",
    "*": "unbounded repeats are not supported; write a bound, such as {0,64}",
    "+": "unbounded repeats are not supported; write a bound, such as {1,64}",
    "?": "write {0,1} instead of '?', or '\\?' for the character",
    ".": "'.' would match any character; write '\\.' for a dot, or a class such as [^/]",
    "^": "a pattern always matches from the beginning; leave '^' out, or write '\\^'",
    "$": "a pattern always matches to the end; leave '$' out, or write '\\$'",
    "]": "']' without '['; write '\\]' for the character",
    "}": "'}' without '{'; write '\\}' for the character",
    "{": "a count follows a character or a class; write '\\{' for the character",
}

Ranges = tuple[tuple[int, int], ...]


class PatternError(ValueError):
    """What is wrong with a pattern, where, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Element:
    """A character or a class of characters, ``least`` to ``most`` times."""

    ranges: Ranges
    negated: bool
    literal: bool
    least: int = 1
    most: int = 1

    def admits(self, code: int) -> bool:
        """Is the character with this code point one of the class?"""
        return any(low <= code <= high for low, high in self.ranges) != self.negated

    def ascii_codes(self) -> Iterable[int]:
        """The code points below 128 that it admits."""
        found = {code for low, high in self.ranges for code in range(low, min(high + 1, _ASCII))}
        return set(range(_ASCII)) - found if self.negated else found

    def expression(self) -> str:
        """The same for ``re``, each character as its number, so that none has a meaning there."""
        ranges = "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in self.ranges)
        return f"[{'^' if self.negated else ''}{ranges}]{{{self.least},{self.most}}}"


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A parsed pattern. ``source`` is what was written."""

    source: str
    elements: tuple[Element, ...]
    least_length: int = field(init=False)
    most_length: int = field(init=False)
    _places: tuple[int, ...] = field(init=False, repr=False)
    _optional: int = field(init=False, repr=False)
    _ascii: tuple[int, ...] = field(init=False, repr=False)
    _alone: re.Pattern[str] | None = field(init=False, repr=False)
    _bounds: tuple[int, ...] = field(init=False, repr=False)
    _between: tuple[int, ...] = field(init=False, repr=False)
    _dash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Every element stands for ``most`` places in a row, one bit each; those past
        # ``least`` are optional. Bit i set means: place i is next.
        places: list[int] = []
        optional = start = dash = 0
        for element in self.elements:
            mask = ((1 << element.most) - 1) << start
            places.append(mask)
            optional |= mask & ~((1 << (start + element.least)) - 1)
            if element.literal and element.admits(ord("-")):
                dash |= mask
            start += element.most
        set_field = object.__setattr__
        set_field(self, "least_length", sum(element.least for element in self.elements))
        set_field(self, "most_length", start)
        set_field(self, "_places", tuple(places))
        set_field(self, "_optional", optional)
        set_field(self, "_dash", dash)
        # By the elements and not by the characters: a policy may have thousands of patterns.
        ascii_places = [0] * _ASCII
        for element, mask in zip(self.elements, places, strict=True):
            for code in element.ascii_codes():
                ascii_places[code] |= mask
        set_field(self, "_ascii", tuple(ascii_places))
        alone = self.elements[0].expression() if len(self.elements) == 1 else None
        set_field(self, "_alone", None if alone is None else re.compile(alone))
        # The answer changes only where a range begins or has ended, so it is computed once for each
        # stretch between. Asking every element for every character would let one long argv hold up
        # the server's event loop.
        edges = {_ASCII}
        for element in self.elements:
            for low, high in element.ranges:
                edges |= {edge for edge in (low, high + 1) if edge > _ASCII}
        bounds = tuple(sorted(edges))
        set_field(self, "_bounds", bounds)
        set_field(self, "_between", tuple(self._where(code) for code in bounds))

    def __reduce__(self) -> tuple[type["Pattern"], tuple[str, tuple[Element, ...]]]:
        """As it was written, for a copy: all else follows."""
        return Pattern, (self.source, self.elements)

    def matches(self, text: str) -> bool:
        """Does the whole text match? Takes time linear in the text's length.

        A ``-`` that begins the text must be written as a literal in the pattern. A class that
        admits it, such as ``[a-z-]``, was meant for names; otherwise it would admit ``-rf``, which
        a program reads as an option.
        """
        if not self.least_length <= len(text) <= self.most_length:
            return False
        if self._alone is not None:
            # Most patterns are one class, such as [a-z]{1,64}. With nothing behind it ``re`` has
            # nothing to go back for, so it is linear too, and ten times as fast.
            dashed = text.startswith("-") and not self._dash & 1
            return not dashed and self._alone.fullmatch(text) is not None
        states = self._skip(1)
        for index, character in enumerate(text):
            code = ord(character)
            if code < _ASCII:
                admitted = self._ascii[code]
            else:
                admitted = self._between[bisect_right(self._bounds, code) - 1]
            if index == 0 and character == "-":
                admitted &= self._dash
            states = self._skip((states & admitted) << 1)
            if not states:
                return False
        return bool(states >> self.most_length)

    def _where(self, code: int) -> int:
        """The places that take the character with this code point."""
        found = 0
        for element, mask in zip(self.elements, self._places, strict=True):
            if element.admits(code):
                found |= mask
        return found

    def _skip(self, states: int) -> int:
        # Within a run of optional places every place after a set one can be reached as
        # well, and the one behind the run. Adding the set bits to the runs carries
        # through to there; what differs from the runs then are those places (Navarro and
        # Raffinot, Flexible Pattern Matching in Strings, section 4.3).
        optional = self._optional
        return states | ((optional + (states & optional)) ^ optional)


def parse_pattern(source: str) -> Pattern:
    """The pattern written as ``source``. Raises PatternError."""
    if len(source) > _MAX_SOURCE:
        raise PatternError(f"a pattern is at most {_MAX_SOURCE} characters long")
    if not source:
        raise PatternError('an empty pattern; write literal = "" for an empty argument')
    elements = tuple(_Parser(source).elements())
    length = sum(element.most for element in elements)
    if length > MAX_LENGTH:
        raise PatternError(
            f"matches up to {length} characters; lower the counts to {MAX_LENGTH} in total"
        )
    return Pattern(source, elements)


@functools.lru_cache(maxsize=1024)
def _element(ranges: Ranges, negated: bool, literal: bool, least: int, most: int) -> Element:
    """One for all patterns that have it: a policy of thousands of commands has few that differ."""
    return Element(ranges, negated, literal, least, most)


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def elements(self) -> Iterator[Element]:
        while self._at < len(self._source):
            character = self._take()
            literal = False
            ranges: Ranges
            negated = False
            if character == "[":
                ranges, negated = self._character_class()
            elif character == "\\":
                ranges, literal = self._escape()
            elif character in _REFUSED:
                raise self._error(_REFUSED[character])
            else:
                ranges, literal = ((ord(character), ord(character)),), True
            least, most = self._count()
            yield _element(ranges, negated, literal, least, most)

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        self._at += 1
        if character == "\0":
            raise self._error("no argument can hold a NUL; leave it out")
        return character

    def _error(self, message: str) -> PatternError:
        return PatternError(f"at character {self._at}: {message}")

    def _escape(self) -> tuple[Ranges, bool]:
        """After a backslash: the ranges, and whether it is one written character."""
        character = self._take()
        if character in _SHORTHANDS:
            return _SHORTHANDS[character], False
        if not character or character.isalnum() or ord(character) >= _ASCII:
            raise self._error(
                "after a backslash stands a punctuation character, 'd' ([0-9]) or "
                "'w' ([0-9A-Za-z_])"
            )
        return ((ord(character), ord(character)),), True

    def _character_class(self) -> tuple[Ranges, bool]:
        negated = self._peek() == "^"
        if negated:
            self._at += 1
        ranges: list[tuple[int, int]] = []
        while True:
            first = len(ranges) == 0
            character = self._take()
            if not character:
                raise self._error("'[' without ']'; close the class, or write '\\['")
            if character == "]":
                if first:
                    raise self._error("an empty class; write '\\]' to have ']' in it")
                return tuple(ranges), negated
            if character == "[":
                raise self._error("write '\\[' to have '[' in a class")
            if character == "-" and not first and self._peek() != "]":
                raise self._error("a '-' inside a class stands first or last, or as '\\-'")
            item: Ranges = ((ord(character), ord(character)),)
            single = True
            if character == "\\":
                item, single = self._escape()
            if (
                single
                and self._peek() == "-"
                and self._source[self._at + 1 : self._at + 2]
                not in (
                    "]",
                    "",
                )
            ):
                item = ((item[0][0], self._range_end(item[0][0])),)
            ranges.extend(item)

    def _range_end(self, low: int) -> int:
        self._at += 1  # the dash
        character = self._take()
        if character == "[":
            raise self._error("write '\\[' to have '[' in a class")
        high = ord(character)
        if character == "\\":
            item, single = self._escape()
            if not single:
                raise self._error("a range ends with one character, not a class")
            high = item[0][0]
        if high < low:
            raise self._error(
                f"the range {chr(low)}-{chr(high)} is reversed; write the lower character first"
            )
        return high

    def _count(self) -> tuple[int, int]:
        if self._peek() != "{":
            return 1, 1
        end = self._source.find("}", self._at)
        if end < 0:
            raise self._error("'{' without '}'; write a count such as {1,20}, or '\\{'")
        text = self._source[self._at + 1 : end]
        self._at = end + 1
        low, comma, high = text.partition(",")
        if not comma:
            high = low
        if not all(part.isascii() and part.isdigit() and len(part) <= 6 for part in (low, high)):
            raise self._error(f"{{{text}}} is not a count; write {{n}} or {{m,n}}")
        least, most = int(low), int(high)
        if most < least or most == 0:
            raise self._error(f"{{{text}}} counts nothing; write {{m,n}} with m <= n and n > 0")
        if most > MAX_LENGTH:
            raise self._error(f"{{{text}}} is too long; an argument may have {MAX_LENGTH}")
        if self._peek() == "{":
            raise self._error("two counts in a row; write one")
        return least, most
