"""Where in its file each slot of a grammar stands (pure)."""

from collections.abc import Iterator

from .slots import (
    EnumSlot,
    IntSlot,
    Leaf,
    LiteralSlot,
    OptionalSlot,
    PathSlot,
    PatternSlot,
    RepeatSlot,
    Slot,
)

_NAMES = {
    LiteralSlot: "literal",
    EnumSlot: "enum",
    IntSlot: "int",
    PatternSlot: "pattern",
    PathSlot: "path",
}


def leaf_places(slots: tuple[Slot, ...], key: str) -> Iterator[tuple[Leaf, str]]:
    """Each leaf with its key, as slot_parser.py names it in mistakes.

    One slot may be written with or without a list around it, which the slots do not remember; it is
    named as if it were in one.
    """
    for number, slot in enumerate(slots):
        place = f"{key}[{number}]"
        if isinstance(slot, OptionalSlot):
            yield from leaf_places(slot.slots, f"{place}.optional")
        elif isinstance(slot, RepeatSlot):
            yield from leaf_places(slot.slots, f"{place}.repeat.slot")
        else:
            yield slot, f"{place}.{_NAMES[type(slot)]}"
