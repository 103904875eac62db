"""Argument grammars, against a naive reference that tries everything."""

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import slowness

from penstock.policy.grammar import (
    CHARACTERS_A_SLICE,
    MAX_ARGUMENTS,
    Grammar,
    GrammarError,
    Match,
    Mismatch,
)
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
    may_be_empty,
)

WORDS = ["-l", "a", "b", "1", "7", "/srv/a", "..", ""]


def _leaf() -> st.SearchStrategy[Slot]:
    return st.one_of(
        st.sampled_from(WORDS).map(LiteralSlot),
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(
            lambda values: EnumSlot(tuple(values))
        ),
        st.just(IntSlot(1, 5)),
        st.just(PatternSlot(parse_pattern("[a-z]{1,2}"))),
        st.just(PathSlot("/srv")),
    )


def _nested(inner: st.SearchStrategy[Slot]) -> st.SearchStrategy[Slot]:
    slots = st.lists(inner, min_size=1, max_size=2).map(tuple)
    repeats = st.tuples(slots, st.integers(0, 2), st.integers(1, 2)).map(
        lambda drawn: RepeatSlot(drawn[0], min(drawn[1], drawn[2]), drawn[2])
    )
    return slots.map(OptionalSlot) | repeats


SLOTS = st.lists(st.recursive(_leaf(), _nested, max_leaves=4), max_size=4)


def _reference(slots: Sequence[Slot], arguments: tuple[str, ...]) -> bool:
    """Exponential, and plainly right: every way through is tried."""
    if not slots:
        return not arguments
    slot, *rest = slots
    if isinstance(slot, OptionalSlot):
        return _reference(rest, arguments) or _reference([*slot.slots, *rest], arguments)
    if isinstance(slot, RepeatSlot):
        return any(
            _reference([*(slot.slots * count), *rest], arguments)
            for count in range(slot.least, slot.most + 1)
        )
    return bool(arguments) and slot.takes(arguments[0]) and _reference(rest, arguments[1:])


@given(SLOTS, st.lists(st.sampled_from(WORDS), max_size=5))
def test_matches_as_the_reference(slots: list[Slot], arguments: list[str]) -> None:
    """The answer is that of trying every way through the slots."""
    result = Grammar(slots).match(arguments)
    assert isinstance(result, Match) == _reference(slots, tuple(arguments))


@given(SLOTS, st.lists(st.sampled_from(WORDS), max_size=5))
def test_a_match_can_be_read_back(slots: list[Slot], arguments: list[str]) -> None:
    """Paths are arguments that a path slot takes, ascending; a mismatch has a position."""
    result = Grammar(slots).match(arguments)
    if isinstance(result, Mismatch):
        assert 0 <= result.index <= len(arguments)
        assert result.message.startswith(f"argument {result.index + 1}")
        return
    positions = [position for position, _, _ in result.paths]
    assert positions == sorted(set(positions))
    for position, root, relative in result.paths:
        assert PathSlot(root).relative(arguments[position]) == relative


@given(SLOTS)
def test_usage_and_emptiness(slots: list[Slot]) -> None:
    """No arguments match just where every slot may be empty; usage is text."""
    grammar = Grammar(slots)
    assert isinstance(grammar.match([]), Match) == all(may_be_empty(slot) for slot in slots)
    assert bool(grammar.usage()) == bool(slots)


@given(SLOTS, st.lists(st.sampled_from(WORDS), max_size=4))
def test_what_is_expected_is_what_takes_another_argument(
    slots: list[Slot], arguments: list[str]
) -> None:
    """For completion: a word is taken by one of those leaves just where it leads on, and none is
    there twice; nothing is expected behind words that are not granted."""
    grammar = Grammar(slots)
    expected = grammar.expected(arguments)
    result = grammar.match(arguments)
    granted_so_far = isinstance(result, Match) or result.index == len(arguments)
    assert (expected is not None) == granted_so_far
    for word in WORDS if expected is not None else ():
        longer = grammar.match([*arguments, word])
        leads_on = isinstance(longer, Match) or longer.index > len(arguments)
        assert any(leaf.takes(word) for leaf in expected or ()) == leads_on
    assert len({id(leaf) for leaf in expected or ()}) == len(expected or ())
    assert grammar.expected([*arguments, "\0"]) is None


def test_no_grammar_grants_no_arguments() -> None:
    """Deny by default."""
    assert isinstance(Grammar().match([]), Match)
    result = Grammar().match(["x"])
    assert isinstance(result, Mismatch)
    assert result.message == "argument 1, 'x', is not granted: the command takes no arguments"


LS = Grammar(
    [
        OptionalSlot((EnumSlot(("-l", "-a", "-la")),)),
        PathSlot("/srv"),
        RepeatSlot((PatternSlot(parse_pattern("[a-z]{1,20}\\.log")),), 0, 2),
    ]
)


def test_usage_shows_the_slots() -> None:
    """Usage reads like a manual page's synopsis."""
    assert LS.usage() == "[-l|-a|-la] PATH(/srv) TEXT([a-z]{1,20}\\.log){0,2}"
    tail = Grammar([OptionalSlot((LiteralSlot("-n"), IntSlot(1, 9))), EnumSlot(("x y", "z"))])
    assert tail.usage() == "[-n INT(1..9)] ('x y'|z)"
    both = RepeatSlot((LiteralSlot("-e"), IntSlot(1, 9)), 1, 3)
    assert both.usage() == "(-e INT(1..9)){1,3}"


def test_paths_are_given_for_resolving() -> None:
    """Absolute and relative paths come out relative to their root."""
    for written, relative in [
        ("/srv", "."),
        ("/srv/", "."),
        ("//srv//a/./b/", "a/b"),
        ("a/b", "a/b"),
        ("./-rf", "-rf"),
        ("a/..b", "a/..b"),
    ]:
        result = LS.match(["-la", written])
        assert isinstance(result, Match)
        assert result.paths == ((1, "/srv", relative),)


@pytest.mark.parametrize(
    "argument",
    ["", "..", "../etc", "/srv/../etc", "a/..", "/etc", "/srvx", "/", "-la", "-", "x" * 5000],
)
def test_paths_out_of_the_root_are_refused(argument: str) -> None:
    """By the text alone; symbolic links are for whoever resolves."""
    assert not PathSlot("/srv").takes(argument)


@pytest.mark.parametrize(
    "argument", ["-rf", "--x=", "--", "-", "--color=auto", "@file", "-la -R", "-a\n"]
)
def test_options_are_not_injected(argument: str) -> None:
    """What looks like an option is granted only where it was written."""
    grammar = Grammar(
        [
            EnumSlot(("-l", "-a")),
            RepeatSlot((PatternSlot(parse_pattern("[a-z.-]{1,20}")),), 0, 3),
            OptionalSlot((IntSlot(1, 9),)),
        ]
    )
    assert isinstance(grammar.match(["-l", "x"]), Match)
    assert isinstance(grammar.match([argument, "x"]), Mismatch)
    assert isinstance(grammar.match(["-l", argument]), Mismatch)
    assert isinstance(LS.match(["-l", "a", argument]), Mismatch)


def test_nul_is_refused_wherever_it_stands() -> None:
    """Even where a negated class would admit it."""
    grammar = Grammar([RepeatSlot((PatternSlot(parse_pattern("[^a]{0,9}")),), 0, 3)])
    result = grammar.match(["ok", "n\0l"])
    assert isinstance(result, Mismatch)
    assert (result.index, result.message) == (1, "argument 2 holds a NUL byte")
    assert isinstance(LS.match(["/srv/a\0"]), Mismatch)


@pytest.mark.parametrize(
    "argument", ["+5", "05", " 5", "5 ", "\u0665", "1_0", "5.0", "0x5", "-0", "", "-", "10" * 3000]
)
def test_integers_have_one_spelling(argument: str) -> None:
    """What int() takes and a program may read otherwise is refused."""
    assert not IntSlot(-100, 100).takes(argument)


@given(st.integers(-50, 50))
def test_integers_within_bounds(value: int) -> None:
    """Both bounds are included; a negative number needs a negative bound."""
    assert IntSlot(-7, 9).takes(str(value)) == (-7 <= value <= 9)
    assert not IntSlot(0, 9).takes(f"-{abs(value)}")


def test_int64_bounds() -> None:
    """The ends of a signed 64-bit integer can be written."""
    slot = IntSlot(-(2**63), 2**63 - 1)
    assert slot.takes(str(2**63 - 1))
    assert slot.takes(str(-(2**63)))
    assert not slot.takes(str(2**63))


def test_messages_name_what_would_be_granted() -> None:
    """For people: the argument's place, its text cut short, and the slots that may follow."""
    result = LS.match(["-rf"])
    assert isinstance(result, Mismatch)
    assert result.message == (
        "argument 1, '-rf', is not granted: it must be one of -l, -a, -la or a path beneath "
        "/srv (no '..', not beginning with '-')"
    )
    missing = LS.match(["-l"])
    assert isinstance(missing, Mismatch)
    assert missing.index == 1
    assert missing.message.startswith("argument 2 is missing: it must be a path beneath /srv")
    escape = LS.match(["\x1b[2J" + "x" * 10_000_000 + ".."])
    assert isinstance(escape, Mismatch)
    assert len(escape.message) < 300
    assert escape.message.isprintable()


def test_the_most_ambiguous_grammar_is_matched_in_time() -> None:
    """Nested optional repeats, where backtracking never ends."""
    word = PatternSlot(parse_pattern("[a-z]{1,200}"))
    slots: list[Slot] = [OptionalSlot((word,)), RepeatSlot((word,), 0, 3)]
    grammar = Grammar([RepeatSlot((*slots, OptionalSlot((RepeatSlot((word,), 0, 4),))), 0, 64)])
    began = time.process_time()
    assert isinstance(grammar.match(["a" * 200] * MAX_ARGUMENTS), Match)
    assert isinstance(grammar.match([*["a" * 200] * (MAX_ARGUMENTS - 1), "-"]), Mismatch)
    assert time.process_time() - began < 3 * slowness()


def test_a_path_has_the_root_of_the_slot_that_takes_it_in_a_whole_match() -> None:
    """Where several slots would take an argument, one that leads to no end gives no root: the
    file below another root would be opened."""
    pair = OptionalSlot((PathSlot("/one"), LiteralSlot("--")))
    grammar = Grammar([pair, PathSlot("/two")])
    alone = grammar.match(["a"])
    assert isinstance(alone, Match)
    assert alone.paths == ((0, "/two", "a"),)
    both = grammar.match(["a", "--", "b"])
    assert isinstance(both, Match)
    assert both.paths == ((0, "/one", "a"), (2, "/two", "b"))


def test_of_several_ways_the_last_arguments_take_the_earliest_slots() -> None:
    """Which of them it is decides what counts as a path, so it is always the same one."""
    grammar = Grammar([OptionalSlot((PathSlot("/one"),)), OptionalSlot((PathSlot("/two"),))])
    result = grammar.match(["a"])
    assert isinstance(result, Match)
    assert result.paths == ((0, "/one", "a"),)


def test_a_match_has_no_paths_unless_it_is_given_some() -> None:
    """Callers go through them without asking whether there are any."""
    assert Match().paths == ()
    assert Grammar().match([]) == Match()


def test_grammars_are_equal_by_their_slots() -> None:
    """What a reload compares: the same slots are the same grammar, others and other things not."""
    slots: list[Slot] = [LiteralSlot("-l"), PathSlot("/srv")]
    assert Grammar(slots) == Grammar(tuple(slots))
    assert hash(Grammar(slots)) == hash(Grammar(tuple(slots)))
    assert Grammar(slots) != Grammar(slots[:1])
    assert Grammar(slots) != slots
    assert Grammar() != ()


def test_a_repeated_slot_is_asked_once_for_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of its places are open: a pattern may take long to say no."""
    asked: list[str] = []
    takes = PatternSlot.takes

    def counted(self: PatternSlot, argument: str) -> bool:
        asked.append(argument)
        return takes(self, argument)

    monkeypatch.setattr(PatternSlot, "takes", counted)
    word = PatternSlot(parse_pattern("[a-z]{1,9}"))
    grammar = Grammar([RepeatSlot((OptionalSlot((word,)), OptionalSlot((word,))), 0, 20)])
    assert isinstance(grammar.match(["a", "b"]), Match)
    assert asked == ["a", "b"]


def test_a_mismatch_says_to_the_letter_what_is_wanted() -> None:
    """Every slot that could follow, and at most 60 characters of what was sent."""
    grammar = Grammar([OptionalSlot((LiteralSlot("-n"),)), IntSlot(1, 9)])
    wanted = "it must be -n or an integer from 1 to 9"
    for arguments, message in [
        ([], f"argument 1 is missing: {wanted}"),
        (["x" * 60], f"argument 1, '{'x' * 60}', is not granted: {wanted}"),
        (["x" * 61], f"argument 1, '{'x' * 57}...', is not granted: {wanted}"),
        (["-n", "1", "2"], "argument 3, '2', is not granted: there are at most 2"),
    ]:
        result = grammar.match(arguments)
        assert isinstance(result, Mismatch)
        assert result.message == message


def test_a_grammar_without_bound_is_refused() -> None:
    """Repeats of repeats multiply."""
    many = RepeatSlot((RepeatSlot((LiteralSlot("x"),), 1, 512),), 1, 512)
    with pytest.raises(GrammarError, match="262144"):
        Grammar([many])


def test_a_long_command_line_is_matched_in_slices() -> None:
    """By what is asked of how many characters; the answer is that of one go."""
    slots = [RepeatSlot((PatternSlot(parse_pattern("[a-z]{0,100}[a-z0-9]{0,100}")),), 0, 100)]
    grammar = Grammar(slots)
    arguments = ["a" * 199] * 90
    assert len(list(grammar.match_in_slices(arguments))) == 90 * 200 // CHARACTERS_A_SLICE
    assert grammar.match(arguments) == Match()
    arguments[80] = "-"
    assert len(list(grammar.match_in_slices(arguments))) == 80 * 200 // CHARACTERS_A_SLICE
    assert isinstance(grammar.match(arguments), Mismatch)
    assert not list(grammar.match_in_slices(["a"] * 100))
