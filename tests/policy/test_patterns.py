"""The linear subset of regular expressions, against Python's own."""

import inspect
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import slowness

from penstock.policy.patterns import MAX_LENGTH, Element, Pattern, PatternError, parse_pattern

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


GROUPS = "groups are not supported; write the elements one after another, or use several slots"
ESCAPES = "after a backslash stands a punctuation character, 'd' ([0-9]) or 'w' ([0-9A-Za-z_])"


@pytest.mark.parametrize(
    ("source", "at", "message"),
    [
        ("(", 1, GROUPS),
        ("a)", 2, "groups are not supported; write '\\)' for the character"),
        (
            "a|b",
            2,
            "alternatives are not supported; use an enum slot, or write '\\|' for the character",
        ),
        ("a*", 2, "unbounded repeats are not supported; write a bound, such as {0,64}"),
        ("a+", 2, "unbounded repeats are not supported; write a bound, such as {1,64}"),
        ("a?", 2, "write {0,1} instead of '?', or '\\?' for the character"),
        (".", 1, "'.' would match any character; write '\\.' for a dot, or a class such as [^/]"),
        ("^a", 1, "a pattern always matches from the beginning; leave '^' out, or write '\\^'"),
        ("a$", 2, "a pattern always matches to the end; leave '$' out, or write '\\$'"),
        ("a]", 2, "']' without '['; write '\\]' for the character"),
        ("a}", 2, "'}' without '{'; write '\\}' for the character"),
        ("{2}", 1, "a count follows a character or a class; write '\\{' for the character"),
        ("a\0", 2, "no argument can hold a NUL; leave it out"),
        ("\\1", 2, ESCAPES),
        ("\\bword", 2, ESCAPES),
        ("\\é", 2, ESCAPES),
        ("\\\u0080", 2, ESCAPES),
        ("a\\", 3, ESCAPES),
        ("a\\\0", 3, "no argument can hold a NUL; leave it out"),
        ("[a", 3, "'[' without ']'; close the class, or write '\\['"),
        ("[", 2, "'[' without ']'; close the class, or write '\\['"),
        ("[]", 2, "an empty class; write '\\]' to have ']' in it"),
        ("[^]", 3, "an empty class; write '\\]' to have ']' in it"),
        ("[[a]", 2, "write '\\[' to have '[' in a class"),
        ("[a[]", 3, "write '\\[' to have '[' in a class"),
        ("[a-c-e]", 5, "a '-' inside a class stands first or last, or as '\\-'"),
        ("[a-", 3, "a '-' inside a class stands first or last, or as '\\-'"),
        ("[a-[]", 4, "write '\\[' to have '[' in a class"),
        ("[a-\\d]", 5, "a range ends with one character, not a class"),
        ("[z-a]", 4, "the range z-a is reversed; write the lower character first"),
        ("[z-\\]]", 5, "the range z-] is reversed; write the lower character first"),
        ("a{1", 1, "'{' without '}'; write a count such as {1,20}, or '\\{'"),
        ("a{2,}", 5, "{2,} is not a count; write {n} or {m,n}"),
        ("a{,2}", 5, "{,2} is not a count; write {n} or {m,n}"),
        ("a{x}", 4, "{x} is not a count; write {n} or {m,n}"),
        ("a{\u00b2}", 4, "{\u00b2} is not a count; write {n} or {m,n}"),
        ("a{\u0663}", 4, "{\u0663} is not a count; write {n} or {m,n}"),
        ("a{999999}", 9, "{999999} is too long; an argument may have 256"),
        ("a{1000000}", 10, "{1000000} is not a count; write {n} or {m,n}"),
        ("a{1,1000000}", 12, "{1,1000000} is not a count; write {n} or {m,n}"),
        ("a{3,2}", 6, "{3,2} counts nothing; write {m,n} with m <= n and n > 0"),
        ("a{0}", 4, "{0} counts nothing; write {m,n} with m <= n and n > 0"),
        ("a{0,0}", 6, "{0,0} counts nothing; write {m,n} with m <= n and n > 0"),
        ("a{257}", 6, "{257} is too long; an argument may have 256"),
        ("a{1,257}", 8, "{1,257} is too long; an argument may have 256"),
        ("a{2}{3}", 4, "two counts in a row; write one"),
        (
            "[a-z]{200}[0-9]{57}",
            None,
            "matches up to 257 characters; lower the counts to 256 in total",
        ),
        ("", None, 'an empty pattern; write literal = "" for an empty argument'),
        ("[a\0]", 3, "no argument can hold a NUL; leave it out"),
        ("ab[a-\0]", 6, "no argument can hold a NUL; leave it out"),
        ("(?=a)", 1, GROUPS),
        ("([a-z]+-?)+\\.log", 1, GROUPS),
    ],
)
def test_refuses_what_could_explode_or_surprise(source: str, at: int | None, message: str) -> None:
    """Every other construct of regular expressions is refused, with what to write: the text is all
    that an administrator has, so it is held to the letter."""
    with pytest.raises(PatternError) as caught:
        parse_pattern(source)
    assert str(caught.value) == (message if at is None else f"at character {at}: {message}")


def test_the_longest_source_and_the_longest_text() -> None:
    """Both bounds are included; beyond them it says so."""
    longest = "[" + "a" * 2046 + "]"
    assert parse_pattern(longest).matches("a")
    with pytest.raises(PatternError, match="a pattern is at most 2048 characters long"):
        parse_pattern(longest + "a")
    assert parse_pattern("a{256}").matches("a" * 256)
    assert parse_pattern("a{000256}").matches("a" * 256)
    assert parse_pattern("a{56}[b-c]{100,200}").matches("a" * 56 + "c" * 200)


@pytest.mark.parametrize(
    "written", ["\\d", "\\w", "[\\d_]", "[^\\w]", "[+\\--]", "[\\--a]", "[\\[-\\]]"]
)
@pytest.mark.parametrize("around", ["", "x"])
def test_a_class_has_the_characters_of_the_same_one_in_python(written: str, around: str) -> None:
    """Each one up to U+017F and some beyond, for a class alone and for one among others."""
    pattern = parse_pattern(around + written)
    reference = re.compile(around + written, re.ASCII | re.DOTALL)
    for code in (*range(1, 0x180), 0x660, 0x1F600, 0x10FFFF):
        # A dash that begins the text is another test's.
        if around or code != ord("-"):
            text = around + chr(code)
            assert pattern.matches(text) == (reference.fullmatch(text) is not None), hex(code)


@pytest.mark.parametrize("text", ["-rf", "--", "-"])
def test_a_class_does_not_grant_a_leading_dash(text: str) -> None:
    """A '-' in a class is for the middle of a name, not for options."""
    assert not parse_pattern("[a-z-]{1,20}").matches(text)
    assert not parse_pattern("[^/]{1,20}").matches(text)
    assert not parse_pattern("[!-~]{1,20}").matches(text)
    assert parse_pattern("[a-z-]{1,20}").matches("x" + text)


@pytest.mark.parametrize("written", ["[a-z-]", "[^/]", "[!-~]", "[\\-a-z]"])
def test_a_class_among_others_does_not_grant_a_leading_dash(written: str) -> None:
    """Also where it is optional what the text begins with; behind the beginning a '-' is one
    character among others."""
    for pattern in (f"{written}{{1,9}}[a-z]", f"x{{0,1}}{written}[a-z]{{0,9}}"):
        parsed = parse_pattern(pattern)
        assert not parsed.matches("-rf")
        assert not parsed.matches("--rf")
        assert parsed.matches("x-f")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("-", "-"),
        ("\\-", "-"),
        ("-{1,3}", "--"),
        ("-[a-z]{1,3}-", "-ab-"),
        ("-{0,1}x{0,1}-{0,1}[a-z]", "--f"),
        ("[a-z]{0,1}-f", "-f"),
    ],
)
def test_a_written_dash_is_granted_wherever_it_stands(pattern: str, text: str) -> None:
    """Alone, escaped, counted, more than one, and behind what may be left out."""
    assert parse_pattern(pattern).matches(text)


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
    assert time.process_time() - began < 0.25 * slowness()


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


def test_an_element_without_a_count_is_there_once() -> None:
    """As in what is written: nothing said means one, neither none nor many."""
    a = Element(((ord("a"), ord("a")),), negated=False, literal=True)
    for pattern in (Pattern("a", (a,)), parse_pattern("a"), parse_pattern("[a-a]")):
        assert [text for text in ("", "a", "aa") if pattern.matches(text)] == ["a"]
    two = parse_pattern("ab")
    assert [text for text in ("a", "ab", "aab", "abb") if two.matches(text)] == ["ab"]


def test_a_pattern_shows_what_was_written_and_not_its_tables() -> None:
    """Else the log line that names a command is a page; and nobody can give it other tables."""
    assert list(inspect.signature(Pattern).parameters) == ["source", "elements"]
    pattern = parse_pattern("ab{2}")
    assert repr(pattern) == (
        f"Pattern(source='ab{{2}}', elements={pattern.elements!r}, least_length=3, most_length=3)"
    )
