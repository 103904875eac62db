"""More than one mistake of a file that is no TOML, and none that the lost lines have caused."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.toml_recovery import TomlRest

GOOD = """\
top = 1
[classes.c]
memory = "1GB"
[commands.a]
path = "/bin/a"
class = "c"
arguments = [
    { literal = "x" },
    { int = { min = 1, max = 2 } },
]
[commands.b]
path = "/bin/b"
class = "c"
"""


def spoilt(*pairs: tuple[str, str]) -> TomlRest:
    text = GOOD
    for old, new in pairs:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return TomlRest(text.encode())


def test_each_line_that_cannot_be_read_is_named() -> None:
    """The first is tomllib's own to name; of each further one the line is right."""
    rest = spoilt(('"/bin/a"', '"/bin/a'), ('"/bin/b"', "/bin/b"))
    (further,) = rest.further
    assert "(at line 12," in further
    assert further.endswith("; correct it there")
    assert rest.data is not None
    assert tomllib.loads(rest.data.decode())["commands"]["b"] == {"class": "c"}


def test_mistakes_count_where_nothing_was_lost() -> None:
    rest = spoilt(("min = 1, max = 2 }", "min = 1 max = 2 }"))
    assert rest.further == []
    assert not rest.top_lost
    assert [line for line in range(1, 14) if rest.counts(line)] == [1, 2, 3, 11, 12, 13]
    assert not rest.counts(None)


def test_a_line_that_stands_in_no_table_is_told() -> None:
    rest = spoilt(("top = 1", "top = "))
    assert rest.top_lost
    assert not rest.counts(1)
    assert rest.counts(3)


def test_where_a_head_was_lost_nothing_counts() -> None:
    """What stands below it would be of another table."""
    rest = spoilt(("[commands.b]", "[commands.b"), ('"1GB"', '"1GB'))
    assert rest.data is None
    assert len(rest.further) == 1


def test_what_cannot_be_left_out_leaves_nothing() -> None:
    """A text, or a list, without an end takes all that follows with it."""
    ends = (GOOD + 'x = """\ny = 1\n', GOOD + "x = [\n1,\n")
    for text in (*ends, "x = " + "[" * 2000, "a\xff", "x = 1\n" * 40_000 + "="):
        rest = TomlRest(text.encode("latin-1"))
        assert rest.data is None
        assert rest.further == []


def test_a_file_of_nothing_but_mistakes_ends() -> None:
    assert TomlRest(b"= \n\n" * 100).data is None


@given(st.data())
def test_a_spoilt_line_is_all_that_is_lost(data: st.DataObject) -> None:
    """Whatever it is, the rest is what the other lines say, or nothing is said of it."""
    lines = GOOD.splitlines()
    number = data.draw(st.integers(0, len(lines) - 1))
    lines[number] = data.draw(st.text(st.characters(blacklist_characters="\r\n"), max_size=12))
    text = "\n".join(lines)
    rest = TomlRest(text.encode("utf-8", "surrogatepass"))
    if rest.data is None:
        return
    tomllib.loads(rest.data.decode())
    kept = rest.data.decode().split("\n")
    assert all(mine in ("", theirs) for mine, theirs in zip(kept, text.split("\n"), strict=True))
