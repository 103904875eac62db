"""Words as bash reads them, and quoted so that bash reads them as they are."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cli.completing.shell_syntax import Word, inserted, quoted, read_word, split_line

# All that a shell, a terminal or readline might obey.
TEXT = st.text(
    st.one_of(
        st.characters(min_codepoint=1, max_codepoint=0x7F),
        st.sampled_from("é\u200b\u202e\U000e0041日"),
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("penstock ", ["penstock", ""]),
        ("penstock st", ["penstock", "st"]),
        ("penstock 'a b' c\\ d", ["penstock", "a b", "c d"]),
        ('penstock "a \\" b" "\\x"', ["penstock", 'a " b', "\\x"]),
        ("penstock $'a\\n\\x41\\u00e9\\'b' x", ["penstock", "a\nAé'b", "x"]),
        ("A=1 B='x y' penstock x=1", ["penstock", "x=1"]),
        ("penstock status >out.txt 7", ["penstock", "status", "7"]),
        ("penstock status 2> out.txt ", ["penstock", "status", "2", ""]),
        ("true; penstock st", ["penstock", "st"]),
        ("penstock a\\", ["penstock", "a"]),
        ("", [""]),
    ],
)
def test_a_line_up_to_the_cursor(line: str, texts: list[str]) -> None:
    """The last word is the one at the cursor."""
    assert [word.text for word in split_line(line)] == texts


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        ("'a b", Word("'a b", "a b", "'")),
        ('x"a', Word('x"a', "xa", '"')),
        ("$'a\\tb", Word("$'a\\tb", "a\tb", "$'")),
        ("a'b'c", Word("a'b'c", "abc")),
        ("a b", Word("a b", "a b")),
    ],
)
def test_a_word_that_is_unfinished(raw: str, word: Word) -> None:
    """With the quote that is open at its end."""
    assert read_word(raw) == word


def test_a_word_of_fish() -> None:
    """Where a backslash counts in single quotes, and a dollar in front of one is a dollar."""
    assert read_word("'it\\'s \\\\", fish=True) == Word("'it\\'s \\\\", "it's \\", "'")
    assert read_word("\\'x", fish=True).text == "'x"


@pytest.mark.parametrize(
    ("text", "quote", "front", "typed"),
    [
        ("a b", "", True, "a\\ b"),
        ("~x", "", True, "\\~x"),
        ("x~y=1:2,3", "", True, "x~y=1:2,3"),
        ("=x", "", False, "=x"),
        ("#x", "", True, "\\#x"),
        ("it's", "'", True, "it'\\''s"),
        ('a"$x', '"', True, 'a\\"\\$x'),
        ("a\nb", "", True, "$'a\\nb'"),
        ("x=~:~y", "", True, "x=\\~:\\~y"),
        ("~", "", False, "\\~"),
        ("a!", "", True, "a\\!"),
        ("a!", "'", True, "a'\\!'"),
        ("a!", '"', True, 'a"\\!"'),
        ("a\x1bb", "'", True, None),
        ("a\nb", '"', True, None),
        ("a'\\!\n", "$'", True, "a\\x27\\x5c\\x21\\n"),
        ("\u202e", "", True, "$'\\u202e'"),
        ("\U000e0041", "", True, "$'\\U000e0041'"),
        ("日", "", True, "日"),
    ],
)
def test_quoted_for_bash(text: str, quote: str, front: bool, typed: str | None) -> None:
    """As little as is needed, and nothing that a terminal would obey."""
    assert quoted(text, quote, front=front) == typed


def line_of(text: str, quote: str) -> str | None:
    """What stands in the line where ``quote`` was typed and readline has inserted the text."""
    typed = inserted(text, quote)
    if typed is None:
        return None
    mark = quote[-1:]
    start = "" if mark and typed.startswith(mark) else quote
    return f"{start}{typed}{'' if typed.endswith(mark) else mark}"


@given(st.lists(st.tuples(TEXT, st.sampled_from(["", "'", "$'"])), min_size=1, max_size=20))
def test_what_is_quoted_is_read_as_it_was(words: list[tuple[str, str]]) -> None:
    """In and behind any quote that is open."""
    for text, quote in words:
        line = line_of(text, quote)
        if line is not None:
            assert read_word(line) == Word(line, text)
        assert read_word(f"x{quoted(text, front=False)}").text == f"x{text}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="NOT TESTED: no bash here")
@settings(max_examples=25)
@given(st.lists(st.tuples(TEXT, st.sampled_from(["", "'", '"', "$'"])), min_size=1, max_size=20))
def test_bash_reads_what_is_quoted(words: list[tuple[str, str]]) -> None:
    """What the shell does with a line is what counts. History expansion is off, as in scripts."""
    lines = [(text, line_of(text, quote)) for text, quote in words]
    offered = [(text, line) for text, line in lines if line is not None]
    line = " ".join(line for _, line in offered)
    # An empty text outside of quotes is no word.
    expected = [text for text, line in offered if line]
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
    )
    found = done.stdout.decode().split("\0")[:-1]
    assert found == (expected or [""])
