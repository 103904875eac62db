"""Completion of arguments offers what the policy's own grammar takes next."""

import tracemalloc

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.completing.granted_slots import MOST_TEXTS, _Row, next_texts
from penstock.policy.grammar import Grammar
from penstock.policy.slots import (
    EnumSlot,
    IntSlot,
    LiteralSlot,
    OptionalSlot,
    PathSlot,
    RepeatSlot,
    Slot,
)
from penstock.proto import command_pb2 as pb

WORDS = ["-a", "b", "c d"]


def as_sent(slot: Slot) -> pb.ArgumentSlot:
    match slot:
        case LiteralSlot(text):
            return pb.ArgumentSlot(kind="literal", text=text)
        case EnumSlot(values):
            return pb.ArgumentSlot(kind="enum", choices=values)
        case IntSlot(least, most):
            return pb.ArgumentSlot(kind="int", min=least, max=most)
        case PathSlot(root):
            return pb.ArgumentSlot(kind="path", text=root)
        case OptionalSlot(slots):
            return pb.ArgumentSlot(kind="optional", slots=map(as_sent, slots))
        case RepeatSlot(slots, least, most):
            return pb.ArgumentSlot(kind="repeat", slots=map(as_sent, slots), min=least, max=most)
    raise AssertionError(slot)


def as_json(slots: tuple[Slot, ...]) -> list[dict[str, object]]:
    command = pb.GrantedCommand(slots=map(as_sent, slots))
    found: list[dict[str, object]] = MessageToDict(command, preserving_proto_field_name=True).get(
        "slots", []
    )
    return found


LEAVES = st.one_of(
    st.sampled_from(WORDS).map(LiteralSlot),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(
        lambda values: EnumSlot(tuple(values))
    ),
    st.just(IntSlot(-3, 40)),
)
SLOTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda slots: OptionalSlot(tuple(slots))),
        st.tuples(
            st.lists(inner, min_size=1, max_size=2), st.integers(0, 2), st.integers(2, 3)
        ).map(lambda parts: RepeatSlot(tuple(parts[0]), parts[1], parts[2])),
    ),
    max_leaves=6,
)


@given(
    st.lists(SLOTS, max_size=3), st.lists(st.sampled_from([*WORDS, "7", "99", "-3"]), max_size=5)
)
def test_it_offers_what_the_grammar_expects(slots: list[Slot], arguments: list[str]) -> None:
    """Neither more nor less, as far as it is texts that may stand next."""
    grammar = Grammar(slots)
    expected = grammar.expected(arguments)
    texts: dict[str, None] = {}
    for leaf in expected or ():
        if isinstance(leaf, LiteralSlot):
            texts[leaf.text] = None
        elif isinstance(leaf, EnumSlot):
            texts |= dict.fromkeys(leaf.values)
    assert set(next_texts(as_json(grammar.slots), arguments)) == set(texts)


@pytest.mark.parametrize(
    ("slot", "argument", "taken"),
    [
        ({"kind": "int", "min": "-3", "max": "40"}, "41", False),
        ({"kind": "int", "max": "40"}, "x", False),
        ({"kind": "int", "max": "40"}, "9" * 4400, False),
        ({"kind": "path", "text": "/srv"}, "/srv/x", True),
        ({"kind": "path", "text": "/srv"}, "-x", False),
        ({"kind": "pattern", "text": "[a-z]"}, "z", True),
        ({"kind": "to come"}, "z", True),
        ({}, "z", True),
        ({"kind": "enum", "choices": ["a"]}, "z", False),
        ({"kind": "enum", "choices": ["a"], "more_choices": 9}, "z", True),
    ],
)
def test_what_an_argument_can_be(slot: dict[str, object], argument: str, taken: bool) -> None:
    """What is not known here is any text."""
    behind = {"kind": "literal", "text": "end"}
    assert next_texts([slot, behind], [argument]) == (["end"] if taken else [])


def test_what_repeats_nothing_counts_too() -> None:
    """Each repetition is a step, so that as many as the bound are done of all, not of each."""
    slot = {"kind": "repeat", "max": str(2**62)}
    row = _Row()
    row.unroll([slot] * 2000)
    assert len(row.skips) <= 4096
    # Each is about a hundred bytes; 2000 slots of 4096 repetitions would be hundreds of MiB.
    tracemalloc.start()
    try:
        assert next_texts([slot] * 2000, []) == []
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


class _CountedSlot(dict[str, object]):
    """One that counts how often its choices are looked at."""

    looks = 0

    def get(self, key: str, default: object = None) -> object:
        self.looks += key == "choices"
        return super().get(key, default)


def test_the_choices_of_a_slot_are_looked_at_once() -> None:
    """For each argument and for the offer, however many of its repetitions may stand there; and
    only so many are offered."""
    choices = [str(number) for number in range(MOST_TEXTS + 10)]
    slot = _CountedSlot(kind="enum", choices=choices)
    optional = {"kind": "optional", "slots": [slot]}
    repeat = {"kind": "repeat", "max": "500", "slots": [optional]}
    assert next_texts([repeat], ["1", "2"]) == choices[:MOST_TEXTS]
    assert slot.looks == 3


def test_a_server_cannot_make_it_work_for_ever() -> None:
    """Of what it repeats and nests only so much is unrolled."""
    slot: dict[str, object] = {"kind": "literal", "text": "x"}
    for _ in range(40):
        slot = {"kind": "repeat", "min": "1", "max": str(2**62), "slots": [slot, slot]}
    assert next_texts([slot], []) in (["x"], [])
