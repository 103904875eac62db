"""Changes of contexts.toml change what was asked for, and leave what its user has written."""

import re
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.context_edit import (
    with_context,
    with_current,
    with_member,
    without_context,
    without_current,
    without_member,
)
from penstock.cli.flags import SettingsError
from penstock.cli.toml_statements import written_keys, written_string

BY_HAND = """\
# Mine; do not touch.

# The one to use.
current = 'a'   # usually

# The old server
[contexts.a]  # soon gone
address = "a:1"  # by its name
# its CA
ca = "ca"
colour = "red"

# The new server
[contexts.b]
address = "b:1"

[groups]
web = [
  "a",  # first
  # second
  "b",
]
db = ["b"]  # one
"""
VALUES = {"address": "n:1", "ca": "/ca", "certificate": "/c", "key": "/k"}
WRITTEN = 'address = "n:1"\nca = "/ca"\ncertificate = "/c"\nkey = "/k"\n'


def lines_gone_and_come(before: str, after: str) -> tuple[list[str], list[str]]:
    """Compared as they stand."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


def test_a_file_that_is_empty() -> None:
    """What add writes is what one would write."""
    text = with_current(with_member(with_context("", "n", VALUES), "web", "n"), "n")
    assert text == f'current = "n"\n\n[contexts.n]\n{WRITTEN}\n[groups]\nweb = ["n"]\n'
    text = without_current(without_context(without_member(text, "web", "n"), "n"))
    assert tomllib.loads(text) == {"groups": {}}


def test_an_added_context_stands_at_the_end() -> None:
    """Behind an empty line; nothing else has changed."""
    for text in (BY_HAND, BY_HAND.removesuffix("\n")):
        assert with_context(text, "n.1", VALUES) == f'{BY_HAND}\n[contexts."n.1"]\n{WRITTEN}'


def test_a_replaced_context_keeps_what_is_not_ours() -> None:
    """Comments and unknown keys; keys that are not given go."""
    gone, come = lines_gone_and_come(BY_HAND, with_context(BY_HAND, "a", VALUES))
    assert gone == ['address = "a:1"  # by its name', 'ca = "ca"']
    assert come == [
        'address = "n:1"  # by its name',
        'ca = "/ca"',
        'certificate = "/c"',
        'key = "/k"',
    ]
    gone, come = lines_gone_and_come(BY_HAND, with_context(BY_HAND, "a", {"address": "n:1"}))
    assert (gone, come) == (
        ['address = "a:1"  # by its name', 'ca = "ca"'],
        ['address = "n:1"  # by its name'],
    )


def test_another_current_context_is_one_value() -> None:
    """Its comment stays; where there was none, it stands in front of the tables."""
    assert with_current(BY_HAND, "b") == BY_HAND.replace("'a'   #", '"b"   #')
    none = without_current(BY_HAND)
    assert none == BY_HAND.replace("current = 'a'   # usually\n", "")
    assert 'current = "b"\n\n# The old server\n[contexts.a]' in with_current(none, "b")


def test_a_removed_context_takes_its_own_lines_alone() -> None:
    """The comment above the next one is about that, and stays."""
    text = without_context(BY_HAND, "a")
    gone, come = lines_gone_and_come(BY_HAND, text)
    assert gone == [
        "[contexts.a]  # soon gone",
        'address = "a:1"  # by its name',
        "# its CA",
        'ca = "ca"',
        'colour = "red"',
    ]
    assert come == []
    assert "\n# The old server\n\n# The new server\n[contexts.b]\n" in text


def test_members_of_groups() -> None:
    """A list keeps its lines and comments; a group that is empty goes."""
    text = with_member(BY_HAND, "web", "n")
    assert text == BY_HAND.replace('  "b",\n', '  "b",\n  "n",\n')
    text = with_member(BY_HAND, "db", "n")
    assert text == BY_HAND.replace('["b"]  # one', '["b", "n"]  # one')
    text = with_member(BY_HAND, "x y", "n")
    assert text == f'{BY_HAND}"x y" = ["n"]\n'
    assert without_member(BY_HAND, "web", "a") == BY_HAND.replace('  "a",  # first', "  # first")
    assert without_member(BY_HAND, "web", "b") == BY_HAND.replace('  "b",\n', "")
    assert without_member(BY_HAND, "db", "b") == BY_HAND.replace('db = ["b"]  # one\n', "")


@pytest.mark.parametrize(
    "text",
    [
        'contexts = { a = { address = "a" }, b = { address = "b" } }',
        '[contexts]\na = { address = "a", x = 1 }\nb.address = "b"',
    ],
)
def test_a_form_that_cannot_be_changed_is_refused(text: str) -> None:
    """With its line, and never changed into something else."""
    with pytest.raises(SettingsError, match=r"line \d: contexts\.a is written in a form"):
        with_context(text, "a", VALUES)


def test_a_tables_dotted_keys() -> None:
    """Replaced and removed as they are written."""
    text = '[contexts]\na.address = "a"\na.x = 1\nb.address = "b"'
    changed = with_context(text, "a", {"address": "n", "ca": "/ca"})
    assert changed == '[contexts]\na.address = "n"\na.x = 1\na.ca = "/ca"\nb.address = "b"'
    assert without_context(text, "a") == '[contexts]\nb.address = "b"'
    assert with_member("groups.x = ['a']", "y", "b") == "groups.x = ['a']\ngroups.y = [\"b\"]\n"


NAMES = st.sampled_from(["a", "b", "n.1", "x y"])
# Without "#", which begins a note here.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="#"), max_size=8)
NOTES = st.sampled_from(["", "", "# a note {}", "#[contexts.a] {}", "  # ]] {} '", "\t"])


@st.composite
def files(draw: Any) -> str:
    """A file as somebody may have written it: any order, forms of tables, notes everywhere."""
    count = 0

    def note() -> str:
        nonlocal count
        count += 1
        return str(draw(NOTES).format(count))

    def strings(values: list[str]) -> str:
        if not values or draw(st.booleans()):
            return f"[{', '.join(map(written_string, values))}]"
        inner = "".join(f"  {written_string(value)},{note()}\n" for value in values)
        return f"[{note()}\n{inner}{note()}\n]"

    head, blocks = [note()], []
    if draw(st.booleans()):
        head.append(f"current = {written_string(draw(NAMES))} {note()}")
    for name in draw(st.lists(NAMES, unique=True)):
        values = draw(
            st.dictionaries(st.sampled_from(["address", "ca", "zz", "multi"]), TEXTS, max_size=3)
        )
        written = {
            key: f'"""\n{note()}"""' if key == "multi" else written_string(value)
            for key, value in values.items()
        }
        keys = written_keys(("contexts", name))
        if draw(st.booleans()):
            lines = [f"{key} = {value} {note()}" for key, value in written.items()]
            blocks.append([note(), f"[{keys}] {note()}", *lines, note()])
        else:
            head += [f"{keys}.{key} = {value} {note()}" for key, value in written.items()]
    groups = draw(st.dictionaries(NAMES, st.lists(NAMES, unique=True), max_size=2))
    lines = [f"{written_keys((key,))} = {strings(names)}{note()}" for key, names in groups.items()]
    if lines:
        blocks.append(["[groups]", *lines, note()])
    end = draw(st.sampled_from(["\n", "\r\n"]))
    parts = [*head, *(line for block in draw(st.permutations(blocks)) for line in block)]
    return re.sub(r"\r?\n", lambda _: end, "\n".join(parts) + draw(st.sampled_from(["\n", ""])))


def notes_of(text: str) -> list[str]:
    return re.findall(r"#[^\n\"]*\d", text)


@given(files(), NAMES, NAMES)
def test_a_change_means_what_was_asked_for(text: str, name: str, group: str) -> None:
    """Whatever the file; or it is refused. Only a removed context takes notes with it."""
    data = tomllib.loads(text)
    contexts = data.get("contexts", {})

    added = with_context(text, name, VALUES)
    others = {k: v for k, v in contexts.get(name, {}).items() if k not in ("address", "ca")}
    assert tomllib.loads(added)["contexts"][name] == VALUES | others
    assert [note for note in notes_of(text) if note not in added] == []

    current = with_current(text, name)
    assert tomllib.loads(current) == data | {"current": name}
    assert notes_of(current) == notes_of(text)

    members = data.get("groups", {}).get(group, [])
    grown = with_member(text, group, "new")
    assert tomllib.loads(grown)["groups"][group] == [*members, "new"]
    assert notes_of(grown) == notes_of(text)
    assert tomllib.loads(without_member(grown, group, "new")).get("groups", {}) == (
        {k: v for k, v in data.get("groups", {}).items() if v or k != group}
    )
    if name in members:
        left = [member for member in members if member != name]
        assert tomllib.loads(without_member(text, group, name))["groups"].get(group, []) == left

    removed = tomllib.loads(without_context(text, name))
    others = {k: v for k, v in contexts.items() if k != name and v}
    assert {k: v for k, v in removed.get("contexts", {}).items() if v} == others
