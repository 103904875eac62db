"""Usage lines: what a reader takes from them is what the grammar grants, no more and no less."""

import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import slowness

from penstock.policy.grammar import MAX_ARGUMENTS, Grammar, Match
from penstock.policy.patterns import parse_pattern
from penstock.policy.slots import (
    EnumSlot,
    IntSlot,
    LiteralSlot,
    OptionalSlot,
    PathSlot,
    PatternSlot,
    RepeatSlot,
    Slot,
)
from penstock.policy.usage_lines import usage_lines

# Words of every kind that could be mistaken for something else: a name, a sign, a quote.
WORDS = [
    *("-l", "--all", "a", "b", "PATH", "NUMBER2", "TEXT", "", "...", "[", "]", "(a|b)", "|", "{2}"),
    *(
        "it's",
        '"',
        "two words",
        "x" * 41,
        "line\nend",
        "ü",
        "\u202e",
        "$HOME",
        "\\",
        "a=b",
        "~",
        "#",
    ),
]
ARGUMENTS = [*WORDS, "1", "7", "-1", "/srv/a", "/srv/b/c", "abc", ".."]


def _leaf() -> st.SearchStrategy[Slot]:
    return st.one_of(
        st.sampled_from(WORDS).map(LiteralSlot),
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=6, unique=True).map(
            lambda values: EnumSlot(tuple(values))
        ),
        st.sampled_from([IntSlot(1, 5), IntSlot(-1, 7)]),
        st.sampled_from(["[a-z]{1,2}", "[ab]c{0,1}"]).map(lambda s: PatternSlot(parse_pattern(s))),
        st.sampled_from([PathSlot("/srv"), PathSlot("/srv/b"), PathSlot("/srv", ("bob",))]),
    )


def _nested(inner: st.SearchStrategy[Slot]) -> st.SearchStrategy[Slot]:
    slots = st.lists(inner, min_size=1, max_size=2).map(tuple)
    repeats = st.tuples(slots, st.integers(0, 2), st.integers(1, 2)).map(
        lambda drawn: RepeatSlot(drawn[0], min(drawn[1], drawn[2]), drawn[2])
    )
    return slots.map(OptionalSlot) | repeats


SLOTS = st.lists(st.recursive(_leaf(), _nested, max_leaves=4), max_size=4)


class Reader:
    """Reads a first line as docs/cli.md explains it, knowing nothing of the grammar. ``leaves``
    are what the names in capitals stand for."""

    def __init__(self, text: str, leaves: dict[str, Slot]) -> None:
        self._text = text
        self._leaves = leaves
        self._at = 0

    def row(self, ends: str = "") -> tuple[Slot, ...]:
        slots: list[Slot] = []
        while self._at < len(self._text) and self._text[self._at] not in ends:
            if self._text[self._at] == " ":
                self._at += 1
                continue
            slots.append(self._repeated(self._group()))
        self._at += bool(ends)
        return tuple(slots)

    def _group(self) -> tuple[Slot, ...]:
        sign = self._text[self._at]
        if sign not in "[(":
            return (self._choice(),)
        self._at += 1
        inner = self.row("])")
        return (OptionalSlot(inner),) if sign == "[" else inner

    def _choice(self) -> Slot:
        values = [self._word()]
        while self._text[self._at : self._at + 1] == "|":
            self._at += 1
            values.append(self._word())
        words = tuple(word for word, _ in values)
        if len(words) == 1 and not values[0][1] and words[0] in self._leaves:
            return self._leaves[words[0]]
        return EnumSlot(words)

    def _word(self) -> tuple[str, bool]:
        """As a POSIX shell reads it, up to a sign of the usage line; and whether it has quotes."""
        found, quote, quoted = "", "", False
        while self._at < len(self._text):
            character = self._text[self._at]
            if quote:
                if character == quote:
                    quote = ""
                else:
                    found += character
            elif character in "'\"":
                quote, quoted = character, True
            elif character in " []()|{}":
                break
            else:
                found += character
            self._at += 1
        return found, quoted

    def _repeated(self, inner: tuple[Slot, ...]) -> Slot:
        if self._text[self._at : self._at + 1] != "{":
            (only,) = inner
            return only
        end = self._text.index("}", self._at)
        least, _, most = self._text[self._at + 1 : end].partition(",")
        self._at = end + 1
        return RepeatSlot(inner, int(least), int(most or least))


def leaves_of(slots: Sequence[Slot]) -> list[Slot]:
    found: list[Slot] = []
    for slot in slots:
        nested = isinstance(slot, OptionalSlot | RepeatSlot)
        found += leaves_of(slot.slots) if nested else [slot]  # type: ignore[union-attr]
    return found


def explained(lines: list[str], slots: Sequence[Slot]) -> dict[str, Slot]:
    """What each name stands for, by its line: the leaf that describes itself so."""
    found = {}
    for line in lines:
        name, _, text = line.partition(": ")
        text = text.removeprefix("exactly ")
        (found[name], *_) = (
            leaf
            for leaf in leaves_of(slots)
            if text in (leaf.describe(), f"{leaf.describe()} ({_count(leaf)} in all)")  # type: ignore[union-attr]
        )
    return found


def _count(leaf: Slot) -> int:
    return len(leaf.values) if isinstance(leaf, EnumSlot) else 0


@given(SLOTS, st.lists(st.sampled_from(ARGUMENTS), max_size=5))
def test_who_reads_the_line_knows_the_grammar(slots: list[Slot], arguments: list[str]) -> None:
    """Read back it grants the same arguments: each literal word of it is the grammar's, and each
    is there."""
    grammar = Grammar(slots)
    form, *names = usage_lines("run", grammar)
    assert form.startswith("run")
    leaves = explained(names, slots)
    read = Grammar(Reader(form.removeprefix("run"), leaves).row())
    assert isinstance(read.match(arguments), Match) == isinstance(grammar.match(arguments), Match)


@given(SLOTS)
def test_each_name_has_one_line_and_stands_in_the_form(slots: list[Slot]) -> None:
    """And none is a word that the grammar grants in itself."""
    form, *lines = usage_lines("run", Grammar(slots))
    names = [line.partition(":")[0] for line in lines]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.search(rf"(?:^|[ \[(]){name}(?:$|[ \])}}{{])", form), name
    assert all("\n" not in line and line.isprintable() for line in [form, *lines])


@pytest.mark.parametrize(
    ("slots", "lines"),
    [
        ([], ["tail"]),
        (
            [
                OptionalSlot((LiteralSlot("-n"), IntSlot(0, 1000))),
                OptionalSlot((EnumSlot(("-f", "-F")),)),
                RepeatSlot((PathSlot("/var/log"),), 1, 4),
            ],
            [
                "tail [-n NUMBER] [-f|-F] PATH{1,4}",
                "NUMBER: an integer from 0 to 1000",
                "PATH: a path beneath /var/log (no '..', not beginning with '-')",
            ],
        ),
        (
            [
                EnumSlot(("full", "incremental")),
                IntSlot(1, 2),
                IntSlot(3, 4),
                IntSlot(1, 2),
                LiteralSlot("NUMBER"),
            ],
            [
                "tail (full|incremental) NUMBER1 NUMBER2 NUMBER1 'NUMBER'",
                "NUMBER1: an integer from 1 to 2",
                "NUMBER2: an integer from 3 to 4",
            ],
        ),
        (
            [
                EnumSlot(("a", "b", "c", "d", "e")),
                RepeatSlot((LiteralSlot("-e"), PatternSlot(parse_pattern("[a-z]{1,8}"))), 2, 2),
            ],
            [
                "tail CHOICE (-e TEXT){2}",
                "CHOICE: one of a, b, c, d, e (5 in all)",
                "TEXT: a text that matches [a-z]{1,8}",
            ],
        ),
        (
            [LiteralSlot("a\tb"), OptionalSlot((EnumSlot(("x" * 41,)),))],
            [
                "tail WORD [CHOICE]",
                "WORD: exactly 'a\\tb'",
                f"CHOICE: one of {'x' * 37}... (1 in all)",
            ],
        ),
    ],
)
def test_how_they_look(slots: list[Slot], lines: list[str]) -> None:
    """One line for what may be typed, and one for each name."""
    assert usage_lines("tail", Grammar(slots)) == lines


def test_what_takes_the_same_has_one_name() -> None:
    """Patterns that are written alike, and paths beneath one root whoever may own what is there."""
    slots: list[Slot] = [
        PatternSlot(parse_pattern("[a-z]{1,8}")),
        PatternSlot(parse_pattern("[a-z]{1,8}")),
        PathSlot("/srv"),
        PathSlot("/srv", ("bob",)),
    ]
    assert usage_lines("x", Grammar(slots))[0] == "x TEXT TEXT PATH PATH"


def test_the_largest_grammar_is_a_bounded_text() -> None:
    """However large a policy is, and within a few milliseconds."""
    slots: list[Slot] = [
        PatternSlot(parse_pattern(f"[a-z]{{1,{number % 200 + 1}}}" + "[b-z]{0,1}" * 50))
        for number in range(MAX_ARGUMENTS // 2)
    ]
    slots += [
        EnumSlot(tuple(f"{n}-{value}" for value in range(200))) for n in range(MAX_ARGUMENTS // 2)
    ]
    grammar = Grammar(slots)
    begin = time.process_time()
    lines = usage_lines("x", grammar)
    assert time.process_time() - begin < 0.05 * slowness()
    assert len(lines) == 66
    assert lines[-1] == "... and 392 more"
    assert sum(map(len, lines)) < 30_000
    assert max(map(len, lines[1:])) <= 310
