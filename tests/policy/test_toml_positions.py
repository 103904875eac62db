"""The line of each key, in whatever form TOML admits; and what a mistake is taken apart into."""

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.mistakes import FileMistake, located, unlocated
from penstock.policy.toml_positions import KeyLines, key_lines
from penstock.policy.toml_tables import Table

FORMS = '''\
# a comment with = and [
top = 1
"quoted key" = { a = 1, "b.c" = [ 2,
  { d = 3 } ] }
text = """
[no.table]
x = 1 \\""" """
other = \'\'\'
y = 2\'\'\'
[table . "with dots.x"]
a.b.c = "x # no comment" # one
list = [ # first
    1,
    [2, 3], # second
    { k = "]" },
]
[[many]]
n = 1
[[many]]
n = 2
[many.below]
z = 1979-05-27T07:32:00Z
[[many.inner]]
q = 1
[[many]]
[[many.inner]]
q = 1
[[many.inner]]
q = { r = 2 }
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("top", 2),
        ('"quoted key".a', 3),
        ('"quoted key"."b.c"[0]', 3),
        ('"quoted key"."b.c"[1].d', 4),
        ("text", 5),
        ("other", 8),
        ('table."with dots.x"', 10),
        ('table."with dots.x".a.b.c', 11),
        ('table."with dots.x".list[1][1]', 14),
        ('table."with dots.x".list[2].k', 15),
        ("many[0].n", 18),
        ("many[1].n", 20),
        ("many[1].below.z", 22),
        ("many[1].inner[0].q", 24),
        ("many[2].inner[0].q", 27),
        ("many[2].inner[1].q.r", 29),
    ],
)
def test_each_form_of_a_key(key: str, line: int) -> None:
    """Quoted, dotted, inline, in arrays, behind texts that look like keys; with either newline."""
    assert tomllib.loads(FORMS)
    assert key_lines(FORMS)[key] == line
    assert key_lines(FORMS.replace("\n", "\r\n"))[key] == line


def test_what_looks_like_a_key_in_a_text_is_none() -> None:
    found = key_lines(FORMS)
    assert not {"no", "no.table", "x", "y"} & found.keys()


def test_a_missing_key_is_placed_where_it_should_be() -> None:
    lines = KeyLines(FORMS.encode())
    assert lines.of('table."with dots.x".absent.key') == 10
    assert lines.of('table."with dots.x".list[2].k.more[3]') == 15
    assert lines.of("nowhere.at.all") is None
    assert lines.of("") is None


NAMES = st.text("abc_-1", min_size=1, max_size=4) | st.text(min_size=1, max_size=4)
VALUES = st.recursive(
    st.integers(0, 9) | st.sampled_from(["", "a # b", 'q"', "]", "}", "x = 1", "\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def quoted(text: str) -> str:
    escaped = "".join(f"\\U{ord(each):08x}" for each in text)
    return f'"{escaped}"'


def written(value: object, newline: str) -> str:
    """A value as TOML, with newlines wherever an array admits them."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        inner = f",{newline}".join(written(each, newline) for each in value)
        return f"[{newline}{inner}{newline}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{quoted(k)} = {written(each, newline)}" for k, each in value.items())
        return f"{{ {inner} }}"
    return str(value)


@given(
    st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=3),
    st.sampled_from(["\n", "\r\n", " # [x]\n", "\n\n"]),
)
def test_every_key_of_every_document_has_the_line_that_it_is_on(
    tables: dict[str, dict[str, object]], newline: str
) -> None:
    text, places = "", {}
    for table, values in tables.items():
        text += f"[{quoted(table)}]\n"
        for key, value in values.items():
            places[table, key] = text.count("\n") + 1
            text += f"{quoted(key)} = {written(value, newline)}\n"
    assert tomllib.loads(text) == tables
    found = key_lines(text)
    for (table, key), line in places.items():
        where = Table({}, Table({}, "", []).where(table), []).where(key)
        assert found[where] == line


@given(st.text() | st.text("[]{}=\"\\'#.,a1 \n"))
def test_no_text_is_too_odd_to_scan(text: str) -> None:
    """It ends, and names lines that there are."""
    assert all(1 <= line <= text.count("\n") + 1 for line in key_lines(text).values())


def test_the_samples_are_scanned_to_their_ends() -> None:
    for name in ("sample-root.toml", "sample-user.toml"):
        text = Path(str(files("penstock") / "policies" / name)).read_text()
        found = key_lines(text)
        assert text.splitlines()[found["clients.carol.max_running"] - 1].startswith("max_running")


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("top: is bad; write another", 2, "top"),
        ('table."with dots.x".list[1]: is bad; write another', 14, 'table."with dots.x".list[1]'),
        ("[many] n: is bad; write another", 17, "many.n"),
        ("file: not TOML: oh (at line 7, column 2); write another", 7, ""),
        ("file: not TOML: oh (at end of document); write another", 30, ""),
        ("no key at all: is bad; write another", None, ""),
    ],
)
def test_a_mistake_gets_its_place_and_parts(text: str, line: int | None, key: str) -> None:
    (found,) = located("/f.toml", FORMS.encode(), [text])
    assert (found.file, found.line, found.key) == ("/f.toml", line, key)
    assert found.remedy == "write another"
    assert found.what
    where = "/f.toml" if line is None else f"/f.toml:{line}"
    assert str(found) == f"{where}: {text.removeprefix('file: ')}"


def test_mistakes_come_in_the_order_of_their_lines() -> None:
    texts = ["many[1].n: b; c", "top: b; c", "nothing: b; c"]
    keys = [each.key for each in located("/f", FORMS.encode(), texts)]
    assert keys == ["nothing", "top", "many[1].n"]


def test_a_mistake_of_no_file_is_its_text() -> None:
    assert str(unlocated("all is bad; mend it")) == "all is bad; mend it"
    assert unlocated("all is bad") == FileMistake("all is bad", what="all is bad")
