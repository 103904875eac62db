"""Whether an argument that a slot takes can begin with a certain text (pure)."""

from .patterns import Pattern
from .slots import EnumSlot, Leaf, LiteralSlot, PatternSlot


def may_begin(leaf: Leaf, text: str) -> bool:
    """Is there an argument that the slot takes and that begins with ``text``?

    It assumes that each class of a pattern admits something. Integers and paths give False: an
    integer begins with nothing that means something to a program, and a path reaches the program
    as an absolute one beneath its root.
    """
    if isinstance(leaf, LiteralSlot):
        return leaf.text.startswith(text)
    if isinstance(leaf, EnumSlot):
        return any(value.startswith(text) for value in leaf.values)
    return isinstance(leaf, PatternSlot) and _pattern_may_begin(leaf.pattern, text)


def may_leave(leaf: Leaf) -> bool:
    """Can the client's text be a path that leaves the working directory?"""
    return isinstance(leaf, PatternSlot) and any(may_begin(leaf, text) for text in ("/", "../"))


def _pattern_may_begin(pattern: Pattern, text: str) -> bool:
    """Steps the set of places in the pattern: an element, and how often it was used already."""
    elements = pattern.elements
    states = _with_skipped(pattern, {(0, 0)})
    for index, character in enumerate(text):
        following = set()
        for number, count in states:
            if number == len(elements):
                continue
            element = elements[number]
            # As Pattern.matches has it: a class does not admit a dash at the beginning.
            dashed = index == 0 and character == "-" and not element.literal
            if count < element.most and element.admits(ord(character)) and not dashed:
                following.add((number, count + 1))
        states = _with_skipped(pattern, following)
    return bool(states)


def _with_skipped(pattern: Pattern, states: set[tuple[int, int]]) -> set[tuple[int, int]]:
    found = set(states)
    waiting = list(states)
    while waiting:
        number, count = waiting.pop()
        if number < len(pattern.elements) and count >= pattern.elements[number].least:
            after = (number + 1, 0)
            if after not in found:
                found.add(after)
                waiting.append(after)
    return found
