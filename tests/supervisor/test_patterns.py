"""The linear subset of regular expressions, against Python's own."""

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.supervisor.patterns import MAX_LENGTH, Element, PatternError, parse_pattern

# Few characters, so that generated texts match often; "-" and "]" have a meaning in
# classes, "é" lies outside of ASCII.
ALPHABET = "ab0-]^\\.é \n"
SHORTHANDS = {"\\d": "[0-9]", "\\w": "[0-9A-Za-z_]"}


def _escaped(character: str) -> str:
    return character if character.isalnum() or character in " \n" else "\\" + character


@st.composite
def elements(draw: st.DrawFn) -> tuple[str, str]:
    """One element in our syntax, and in Python's with the rule of the leading dash."""
    kind = draw(st.sampled_from(["literal", "class", "shorthand"]))
    count = draw(st.sampled_from(["", "{0,1}", "{1}", "{2}", "{0,3}", "{1,4}"]))
    if kind == "literal":
        written = _escaped(draw(st.sampled_from(ALPHABET)))
        return written + count, f"(?:{written}){count}"
    if kind == "shorthand":
        written = draw(st.sampled_from(sorted(SHORTHANDS)))
        return written + count, f"(?:(?!\\A-){SHORTHANDS[written]}){count}"
    items = draw(
        st.lists(
            st.one_of(
                st.sampled_from(ALPHABET).map(_escaped), st.sampled_from(["a-z", "0-9", "\\.-a"])
            ),
            min_size=1,
            max_size=3,
        )
    )
    written = f"[{draw(st.sampled_from(['', '^']))}{''.join(items)}]"
    return written + count, f"(?:(?!\\A-){written}){count}"


@given(st.lists(elements(), min_size=1, max_size=6), st.data())
def test_matches_what_python_matches(parts: list[tuple[str, str]], data: Any) -> None:
    """On the common subset the answers are those of re.fullmatch."""
    pattern = parse_pattern("".join(ours for ours, _ in parts))
    reference = re.compile("".join(theirs for _, theirs in parts), re.DOTALL)
    texts = st.text(ALPHABET, max_size=10) | st.from_regex(reference, fullmatch=True)
    text = data.draw(texts)
    assert pattern.matches(text) == (reference.fullmatch(text) is not None)


@given(st.text(max_size=30))
def test_any_source_is_a_pattern_or_refused(source: str) -> None:
    """Nothing but PatternError comes out of a bad pattern."""
    try:
        pattern = parse_pattern(source)
    except PatternError:
        return
    assert pattern.most_length <= MAX_LENGTH
    re.compile(source)  # whatever we take, Python takes as well


@pytest.mark.parametrize(
    ("source", "because"),
    [
        ("([a-z]+-?)+\\.log", "groups"),
        ("[a-z]+", "unbounded"),
        ("[a-z]*", "unbounded"),
        ("a|b", "alternatives"),
        (".", "any character"),
        ("a?", "{0,1}"),
        ("^a$", "'^'"),
        ("a$", "'$'"),
        ("a{2,}", "not a count"),
        ("a{,2}", "not a count"),
        ("a{2}{3}", "two counts"),
        ("a{3,2}", "counts nothing"),
        ("a{0}", "counts nothing"),
        ("a{1", "without '}'"),
        ("a{257}", "too long"),
        ("[a-z]{200}[0-9]{57}", "up to 257"),
        ("{2}", "count follows"),
        ("[]", "empty class"),
        ("[^]", "empty class"),
        ("[a", "without ']'"),
        ("[z-a]", "reversed"),
        ("[a-c-e]", "first or last"),
        ("[a-\\d]", "one character"),
        ("[[a]", "\\["),
        ("a]", "\\]"),
        ("\\1", "backslash"),
        ("\\bword", "backslash"),
        ("a\\", "backslash"),
        ("a\0", "NUL"),
        ("", "empty"),
        ("(?=a)", "groups"),
    ],
)
def test_refuses_what_could_explode_or_surprise(source: str, because: str) -> None:
    """Every other construct of regular expressions is refused, with what to write."""
    with pytest.raises(PatternError, match=re.escape(because)):
        parse_pattern(source)


@pytest.mark.parametrize("text", ["-rf", "--", "-"])
def test_a_class_does_not_grant_a_leading_dash(text: str) -> None:
    """A '-' in a class is for the middle of a name, not for options."""
    assert not parse_pattern("[a-z-]{1,20}").matches(text)
    assert not parse_pattern("[^/]{1,20}").matches(text)
    assert not parse_pattern("[!-~]{1,20}").matches(text)
    assert parse_pattern("[a-z-]{1,20}").matches("x" + text)


def test_a_written_dash_is_granted() -> None:
    """A literal '-' at the start admits just the option that was written."""
    pattern = parse_pattern("-{0,1}[a-z]{1,3}")
    assert pattern.matches("-rf")
    assert pattern.matches("rf")
    assert not pattern.matches("--r")


def test_the_whole_text_must_match() -> None:
    """Neither a prefix nor a trailing newline passes."""
    pattern = parse_pattern("[a-z]{1,8}\\.log")
    assert pattern.matches("app.log")
    for text in ("app.log\n", "app.log2", " app.log", "appxlog", ".log", ""):
        assert not pattern.matches(text)


def test_the_worst_pattern_takes_no_time() -> None:
    """256 optional places, on which backtracking would try 2**128 ways."""
    pattern = parse_pattern("[a-z]{0,1}" * 128 + "a{128}")
    began = time.process_time()
    assert pattern.matches("a" * 128)
    assert pattern.matches("a" * 256)
    assert not pattern.matches("a" * 255 + "b")
    assert time.process_time() - began < 0.25


def test_characters_beyond_ascii_cost_no_more_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which places take one is known beforehand, whatever the pattern: hundreds of classes, each
    asked for each character of a long command line, were seconds."""
    pairs = [(0x400 + 3 * index, 0x401 + 3 * index) for index in range(200)]
    pattern = parse_pattern("".join(f"[{chr(low)}-{chr(high)}]{{0,1}}" for low, high in pairs))

    def asked(self: Element, code: int) -> bool:
        raise AssertionError(f"asked again for {code:x}")

    monkeypatch.setattr(Element, "admits", asked)
    assert pattern.matches("".join(chr(high) for _, high in pairs))
    assert pattern.matches(chr(pairs[3][0]) + chr(pairs[9][0]))
    assert not pattern.matches(chr(pairs[9][0]) + chr(pairs[3][0]))
    for between in (0x3FF, pairs[0][1] + 1, pairs[-1][1] + 1, 0x10FFFF):
        assert not pattern.matches(chr(between))
