"""Argument grammars as usage lines for people (pure).

The first line is what may be typed: words as a shell takes them, ``[...]`` for what may be left
out, ``(a|b)`` for a choice, ``{m,n}`` for how many times. Where an argument is not one of a few
words, a name in capitals stands for it, and a line of its own says what it takes:

    tail [-n NUMBER] [-f] PATH{1,4}
    NUMBER: an integer from 0 to 1000
    PATH: a path beneath /var/log (no '..', not beginning with '-')

Everything in the first line that is not such a name is exact: a shell reads the grammar's own words
from it, so a word that could be taken for a name or a sign is quoted. Its length is bounded because
a grammar has at most ``grammar.MAX_ARGUMENTS`` leaves.
"""

import re
import shlex
from collections import Counter
from typing import Final

from .grammar import Grammar
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

_FEW: Final = 4  # values of an enum that are shown where they stand
_SHORT: Final = 40  # characters of a word, and of such an enum's values together
_MOST_EXPLAINED: Final = 64
_LONGEST: Final = 300  # characters of an explanation: a pattern may have 2048, a path 4096
_LOOKS_LIKE_A_NAME: Final = re.compile(r"[A-Z]+[0-9]*|\.\.\.", re.ASCII)


def usage_lines(command: str, grammar: Grammar) -> list[str]:
    """The usage of a command with this grammar: the form, then an explanation of each name."""
    names = _Names(grammar.slots)
    lines = [f"{command} {_row(grammar.slots, names)}".rstrip()]
    lines += [f"{name}: {_explanation(leaf)}" for leaf, name in names.shown[:_MOST_EXPLAINED]]
    if len(names.shown) > _MOST_EXPLAINED:
        lines.append(f"... and {len(names.shown) - _MOST_EXPLAINED} more")
    return lines


class _Names:
    """A name for each leaf that is not shown as words: its kind, with a number if there are several
    of the kind. Leaves that take the same share one."""

    def __init__(self, slots: tuple[Slot, ...]) -> None:
        groups: dict[object, list[Leaf]] = {}
        _collect(slots, groups)
        kinds = Counter(_kind(group[0]) for group in groups.values())
        numbers: Counter[str] = Counter()
        self.shown: list[tuple[Leaf, str]] = []
        # By identity, because an enum's hash goes through all of its values each time.
        self._of: dict[int, str] = {}
        for group in groups.values():
            kind = _kind(group[0])
            numbers[kind] += 1
            name = f"{kind}{numbers[kind]}" if kinds[kind] > 1 else kind
            self.shown.append((group[0], name))
            self._of |= dict.fromkeys(map(id, group), name)

    def of(self, slot: Slot) -> str | None:
        """None: it is shown as words, or holds other slots."""
        return self._of.get(id(slot))


def _collect(slots: tuple[Slot, ...], groups: dict[object, list[Leaf]]) -> None:
    for slot in slots:
        match slot:
            case OptionalSlot() | RepeatSlot():
                _collect(slot.slots, groups)
            case PatternSlot():  # two of them are never equal, even if they are written alike
                groups.setdefault(("pattern", slot.pattern.source), []).append(slot)
            case PathSlot():  # whose directories lie on the way makes no difference to a client
                groups.setdefault(("path", slot.root), []).append(slot)
            case _ if not _shown_as_words(slot):
                groups.setdefault(slot, []).append(slot)


def _kind(leaf: Leaf) -> str:
    match leaf:
        case LiteralSlot():
            return "WORD"
        case EnumSlot():
            return "CHOICE"
        case IntSlot():
            return "NUMBER"
        case PathSlot():
            return "PATH"
        case _:
            return "TEXT"


def _shown_as_words(leaf: Leaf) -> bool:
    if isinstance(leaf, LiteralSlot):
        words: tuple[str, ...] = (leaf.text,)
    elif isinstance(leaf, EnumSlot):
        words = leaf.values
    else:
        return False
    if len(words) > _FEW or sum(map(len, words)) > _SHORT:
        return False
    return all(word.isprintable() for word in words)


def _row(slots: tuple[Slot, ...], names: _Names) -> str:
    return " ".join(_form(slot, names) for slot in slots)


def _form(slot: Slot, names: _Names) -> str:
    match slot:
        case OptionalSlot(slots=(EnumSlot() as only,)) if names.of(only) is None:
            return f"[{_words(only.values)}]"
        case OptionalSlot():
            return f"[{_row(slot.slots, names)}]"
        case RepeatSlot():
            text = _row(slot.slots, names)
            if slot.least == slot.most == 1:
                return text
            count = f"{slot.least},{slot.most}" if slot.least < slot.most else f"{slot.most}"
            bare = len(slot.slots) == 1 and not isinstance(slot.slots[0], RepeatSlot)
            return f"{text if bare else f'({text})'}{{{count}}}"
        case _ if (name := names.of(slot)) is not None:
            return name
        case EnumSlot():
            return f"({_words(slot.values)})" if len(slot.values) > 1 else _words(slot.values)
        case LiteralSlot():
            return _words((slot.text,))
        case _:  # every other leaf has a name
            raise AssertionError(slot)


def _words(values: tuple[str, ...]) -> str:
    return "|".join(
        f"'{value}'" if _LOOKS_LIKE_A_NAME.fullmatch(value) else shlex.quote(value)
        for value in values
    )


def _explanation(leaf: Leaf) -> str:
    text = leaf.describe()
    if isinstance(leaf, LiteralSlot):
        text = f"exactly {text}"
    elif isinstance(leaf, EnumSlot):
        text = f"{text} ({len(leaf.values)} in all)"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
