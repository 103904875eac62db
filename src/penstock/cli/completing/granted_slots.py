"""Which argument may come next, by the slots that a server has sent for a command (pure).

The server decides, by ``policy.grammar``. This knows less (no patterns, no paths), takes what it
does not know for an argument of any text, and only offers.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Slot = Mapping[str, Any]
"""An ArgumentSlot as protobuf's JSON has it."""

# Whatever a server sends, no more is unrolled. A grammar has at most 512 leaves.
_MOST_STEPS = 4096


def next_texts(slots: Sequence[Slot], arguments: Sequence[str]) -> list[str]:
    """The literals and choices that may stand behind these arguments, in the grammar's order; none
    if these are not granted."""
    row = _Row()
    row.unroll(slots)
    leaves, skips = row.leaves, sorted(row.skips)
    reached = _closed({0}, skips)
    for argument in arguments:
        taking = (at for at in reached if at < len(leaves) and _takes(leaves[at], argument))
        reached = _closed({at + 1 for at in taking}, skips)
    texts = (text for at in sorted(reached) if at < len(leaves) for text in _texts(leaves[at]))
    return list(dict.fromkeys(texts))


class _Row:
    """Slots unrolled: a leaf for each argument that there may be, and skips from place to place."""

    def __init__(self) -> None:
        self.leaves: list[Slot] = []
        self.skips: list[tuple[int, int]] = []
        self._steps = 0

    def unroll(self, slots: Sequence[Slot]) -> None:
        """Appends them, as far as the bound on all of it goes."""
        for slot in slots:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                return
            inner = slot.get("slots", ())
            match slot.get("kind"):
                case "optional":
                    self._repeat(inner, 0, 1)
                case "repeat":
                    self._repeat(inner, _integer(slot, "min"), _integer(slot, "max"))
                case _:
                    self.leaves.append(slot)

    def _repeat(self, slots: Sequence[Slot], least: int, most: int) -> None:
        begins = []
        for count in range(min(most, _MOST_STEPS)):
            if self._steps > _MOST_STEPS:
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
