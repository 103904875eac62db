"""Which argument lists a command takes: a sequence of slots (pure).

Theory of operation. The slots are unrolled into leaves in a row, one argument each; a place before
a leaf may be connected to a later place, past what is optional there. Matching steps the set of
places that the arguments so far can lead to, so its time is bounded by arguments times leaves,
however ambiguous the grammar is. Where several ways lead to the end, the match is the one whose
last arguments take the earliest slots. All ways are granted, so the choice matters only for what
counts as a path: such an argument is replaced by what it resolves to.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from .slots import (
    Leaf,
    OptionalSlot,
    PathArgument,
    PathSlot,
    RepeatSlot,
    Slot,
    most_arguments,
    sequence_usage,
)

# Bounds the time of a match: a set of places is an integer of this many bits.
MAX_ARGUMENTS: Final = 512
CHARACTERS_A_SLICE: Final = 4096


class GrammarError(ValueError):
    """The slots cannot be made into a grammar."""


@dataclass(frozen=True, slots=True)
class Match:
    """The arguments are granted.

    ``paths``: the arguments that are to be replaced by what their root and relative path
    resolve to, without following symbolic links; ``path_slots``: the slot that took each of them.
    """

    paths: tuple[PathArgument, ...] = ()
    path_slots: tuple[PathSlot, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The arguments are not granted.

    ``index`` counts from 0 and is the number of arguments where one is missing;
    ``message`` counts from 1, as people do, and names nothing but the grammar's slots.
    """

    index: int
    message: str


class Grammar:
    """A compiled argument grammar; no slots grant no arguments. Immutable."""

    __slots__ = ("_closures", "_leaves", "slots")

    def __init__(self, slots: Sequence[Slot] = ()) -> None:
        """Raises GrammarError if more than MAX_ARGUMENTS arguments could match."""
        self.slots = tuple(slots)
        most = most_arguments(self.slots)
        if most > MAX_ARGUMENTS:
            raise GrammarError(f"grants up to {most} arguments; the most is {MAX_ARGUMENTS}")
        self._leaves: list[Leaf] = []
        skips: dict[int, set[int]] = {}
        self._unroll(self.slots, skips)
        # Places reachable from each without an argument. All skips lead forward, so one
        # pass from the end suffices.
        self._closures = [0] * (len(self._leaves) + 1)
        for place in reversed(range(len(self._closures))):
            reachable = 1 << place
            for target in skips.get(place, ()):
                reachable |= self._closures[target]
            self._closures[place] = reachable

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grammar) and self.slots == other.slots

    def __hash__(self) -> int:
        return hash(self.slots)

    def __repr__(self) -> str:
        return f"Grammar({self.usage()!r})"

    def usage(self) -> str:
        """The grammar for people, such as ``[-l|-a] PATH(/srv)``; empty for no arguments."""
        return sequence_usage(self.slots)

    @property
    def most_arguments(self) -> int:
        """How many arguments it may take, which bounds the time of every question to it."""
        return len(self._leaves)

    def expected(self, arguments: Sequence[str]) -> list[Leaf] | None:
        """What may take one more argument behind these, each once; for completion.

        Empty: these may be no more. None: these are not granted, whatever follows them.
        """
        reached = self._closures[0]
        for argument in arguments:
            taking = self._taking(reached, argument, {})
            if "\0" in argument or not taking:
                return None
            reached = 0
            for place in _bits(taking):
                reached |= self._closures[place + 1]
        found = {id(leaf): leaf for leaf in map(self._leaves.__getitem__, self._open(reached))}
        return list(found.values())

    def taken_by(self, arguments: Sequence[str]) -> list[Leaf]:
        """The slot that takes each argument, of arguments that match; it is one of ``slots``.

        As far as they match, of others.
        """
        reached = self._closures[0]
        taken: list[int] = []
        for argument in arguments:
            taking = 0 if "\0" in argument else self._taking(reached, argument, {})
            if not taking:
                break
            taken.append(taking)
            reached = 0
            for place in _bits(taking):
                reached |= self._closures[place + 1]
        if len(taken) == len(arguments) and reached >> len(self._leaves):
            return self._way(taken)
        return [self._leaves[next(_bits(places))] for places in taken]

    def roots(self) -> set[str]:
        """Every root of a path slot."""
        return {slot.root for slot in self.path_slots()}

    def path_slots(self) -> set[PathSlot]:
        """Every path slot, for the host's own checks."""
        return {leaf for leaf in self._leaves if isinstance(leaf, PathSlot)}

    def match(self, arguments: Sequence[str]) -> Match | Mismatch:
        """Are these arguments, after the program's name, granted? Never raises."""
        slices = self.match_in_slices(arguments)
        while True:
            try:
                next(slices)
            except StopIteration as end:
                found: Match | Mismatch = end.value
                return found

    def match_in_slices(self, arguments: Sequence[str]) -> Generator[None, None, Match | Mismatch]:
        """As match, in slices: yields after some CHARACTERS_A_SLICE, so that the server can serve
        other clients in between.

        A command line of 128 KiB may take a pattern a quarter of a microsecond a character.
        """
        left = CHARACTERS_A_SLICE
        reached = self._closures[0]
        taken: list[int] = []  # by argument: the places whose leaf took it
        for index, argument in enumerate(arguments):
            if "\0" in argument:
                return Mismatch(index, f"argument {index + 1} holds a NUL byte")
            if left <= 0:
                yield
                left = CHARACTERS_A_SLICE
            answers: dict[int, bool] = {}
            taken.append(self._taking(reached, argument, answers))
            left -= (1 + len(argument)) * len(answers)
            if not taken[-1]:
                return self._mismatch(reached, index, argument)
            reached = 0
            for place in _bits(taken[-1]):
                reached |= self._closures[place + 1]
        if not reached >> len(self._leaves):
            return self._mismatch(reached, len(arguments), None)
        found: list[tuple[PathArgument, PathSlot]] = []
        for index, leaf in enumerate(self._way(taken)):
            if isinstance(leaf, PathSlot):
                relative = leaf.relative(arguments[index]) or "."
                found.append((PathArgument(index, leaf.root, relative), leaf))
        return Match(tuple(path for path, _ in found), tuple(slot for _, slot in found))

    def _unroll(self, slots: tuple[Slot, ...], skips: dict[int, set[int]]) -> None:
        for slot in slots:
            if isinstance(slot, OptionalSlot):
                start = len(self._leaves)
                self._unroll(slot.slots, skips)
                skips.setdefault(start, set()).add(len(self._leaves))
            elif isinstance(slot, RepeatSlot):
                starts = []
                for count in range(slot.most):
                    if count >= slot.least:
                        starts.append(len(self._leaves))
                    self._unroll(slot.slots, skips)
                for start in starts:
                    skips.setdefault(start, set()).add(len(self._leaves))
            else:
                self._leaves.append(slot)

    def _taking(self, places: int, argument: str, answers: dict[int, bool]) -> int:
        """Those of the places whose leaf takes the argument.

        ``answers`` keeps each leaf's answer, because the places of a repeated slot share one leaf.
        """
        taking = 0
        for place in self._open(places):
            leaf = self._leaves[place]
            takes = answers.get(id(leaf))
            if takes is None:
                takes = answers[id(leaf)] = leaf.takes(argument)
            if takes:
                taking |= 1 << place
        return taking

    def _open(self, places: int) -> Iterator[int]:
        """The places in the set that have a leaf: all but the end."""
        return _bits(places & ((1 << len(self._leaves)) - 1))

    def _way(self, taken: list[int]) -> list[Leaf]:
        """The leaf that took each argument: walks back from the end, each time by the earliest leaf
        that leads on."""
        found: list[Leaf] = []
        target = len(self._leaves)
        for places in reversed(taken):
            target = next(
                place for place in _bits(places) if self._closures[place + 1] >> target & 1
            )
            found.append(self._leaves[target])
        return found[::-1]

    def _mismatch(self, places: int, index: int, argument: str | None) -> Mismatch:
        wanted = list(dict.fromkeys(self._leaves[place].describe() for place in self._open(places)))
        what = f"argument {index + 1}"
        if argument is None:
            return Mismatch(index, f"{what} is missing: it must be {' or '.join(wanted)}")
        shown = repr(argument if len(argument) <= 60 else argument[:57] + "...")
        if not wanted:
            most = f"there are at most {index}" if index else "the command takes no arguments"
            return Mismatch(index, f"{what}, {shown}, is not granted: {most}")
        return Mismatch(index, f"{what}, {shown}, is not granted: it must be {' or '.join(wanted)}")


def _bits(places: int) -> Iterator[int]:
    """The members of the set, ascending."""
    while places:
        lowest = places & -places
        yield lowest.bit_length() - 1
        places ^= lowest
