"""Which argument may come next, by the slots that a server has sent for a command (pure).

The server decides, by ``policy.grammar``. This knows less (no patterns, no paths), takes what it
does not know for an argument of any text, and only offers.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

Slot = Mapping[str, Any]
"""An ArgumentSlot as protobuf's JSON has it."""

# Whatever a server sends, no more is unrolled. A grammar has at most 512 leaves.
_MOST_STEPS = 4096
MOST_TEXTS = 4096
"""So many are offered. Our server sends at most 4000 choices of a command."""


def next_texts(slots: Sequence[Slot], arguments: Sequence[str]) -> list[str]:
    """The literals and choices that may stand behind these arguments, in the grammar's order; none
    if these are not granted."""
    row = _Row()
    row.unroll(slots)
    leaves, skips = row.leaves, sorted(row.skips)
    reached = _closed({0}, skips)
    for argument in arguments:
        # One slot stands in many places, and its choices may be many.
        taken: dict[int, bool] = {}
        taking = set()
        for at in reached:
            if at < len(leaves):
                key = id(leaves[at])
                if key not in taken:
                    taken[key] = _takes(leaves[at], argument)
                if taken[key]:
                    taking.add(at + 1)
        reached = _closed(taking, skips)
    distinct = {id(leaves[at]): leaves[at] for at in sorted(reached) if at < len(leaves)}
    texts = dict.fromkeys(text for leaf in distinct.values() for text in _texts(leaf))
    return list(islice(texts, MOST_TEXTS))


class _Row:
    """Slots unrolled: a leaf for each argument that there may be, and skips from place to place."""

    def __init__(self) -> None:
        self.leaves: list[Slot] = []
        self.skips: list[tuple[int, int]] = []
        self._steps = 0

    def unroll(self, slots: Sequence[Slot]) -> None:
        """Appends them, as far as the bound on all of it goes."""
        for slot in slots:
            if not self._step():
                return
            inner = slot.get("slots", ())
            match slot.get("kind"):
                case "optional":
                    self._repeat(inner, 0, 1)
                case "repeat":
                    self._repeat(inner, _integer(slot, "min"), _integer(slot, "max"))
                case _:
                    self.leaves.append(slot)

    def _step(self) -> bool:
        """Counts one, and whether it is still in the bound."""
        self._steps += 1
        return self._steps <= _MOST_STEPS

    def _repeat(self, slots: Sequence[Slot], least: int, most: int) -> None:
        begins = []
        for count in range(min(most, _MOST_STEPS)):
            # By itself, because what is repeated may be nothing.
            if not self._step():
                break
            if count >= least:
                begins.append(len(self.leaves))
            self.unroll(slots)
        self.skips += [(begin, len(self.leaves)) for begin in begins]


def _closed(places: set[int], skips: Sequence[tuple[int, int]]) -> set[int]:
    """The places, and those that skips lead to. All lead forward, so one pass in order suffices."""
    for begin, end in skips:
        if begin in places:
            places.add(end)
    return places


def _takes(slot: Slot, argument: str) -> bool:
    match slot.get("kind"):
        case "literal":
            return argument == str(slot.get("text", ""))
        case "enum":
            return argument in slot.get("choices", ()) or "more_choices" in slot
        case "int":
            digits = argument.removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
                return False
            return _integer(slot, "min") <= int(argument) <= _integer(slot, "max")
        case "path":
            return not argument.startswith("-")
    return True


def _texts(slot: Slot) -> Iterator[str]:
    if slot.get("kind") == "literal":
        yield str(slot.get("text", ""))
    elif slot.get("kind") == "enum":
        yield from map(str, slot.get("choices", ()))


def _integer(slot: Slot, name: str) -> int:
    return int(slot.get(name, 0))  # a 64-bit number is a text in protobuf's JSON
