"""docs/cancellation.md and the source say the same: rows, scopes, who ends them, shields, words."""

import ast
import re
from typing import get_args

import pytest
from cancellation_page import FIELDS, NOTHING, PAGE, ROOT, constants, defined, rows, table
from marks import modules, read

from penstock.jobs.end_record import Reason

TEXT = PAGE.read_text()
WORDS = ("atomic", "completes", "minimum cleanup", "no checkpoint")
# Two in one statement.
SHIELDS_WITH_A_DEADLINE = {"S5.reserve", "S4.given_up", "S4.standalone"}
# Ends every docstring that tells what cancellation does.
LAST_LINE = re.compile(rf"Cancellation: ({'|'.join(WORDS)})(?:; (C\d+b?(?:, C\d+b?)*))?\.")


SCOPES = {row[0]: row for row in table(TEXT, "| scope | file |")}
DEADLINES = {row[0]: row for row in table(TEXT, "| scope | deadline |")}
ROWS = rows(TEXT)
# Of the kernel, of the command line and of files: what the source does not define.
FOREIGN = {"cgroup.kill", "penstock", "penstock.client"}


def rows_of_tests() -> dict[str, set[str]]:
    """Every test, with the rows that its docstring says it shows."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                rows = set(re.findall(r"\bC[1-9]\d*b?\b", text))
                for first, last in re.findall(r"\bC(\d+) to C(\d+)\b", text):
                    rows |= {f"C{number}" for number in range(int(first), int(last) + 1)}
                found.setdefault(node.name, set()).update(rows)
    return found


MODULES = list(modules())

MADE_UP = """
async def run(scope: trio.CancelScope) -> trio.Nursery:
    'Runs.'
    with trio.CancelScope(shield=True) as scope:
        # Cancels S5, S6.
        scope.cancel()
        call.cancel(reason)
    # Scope S4.
    give(scope.cancel)
    # Deadline S3.
    scope.deadline = 1
    scope.deadline += 1
    scope.relative_deadline = 1
"""

HIDDEN = """
import trio as other
from trio import move_on_after
make = trio.open_nursery
give(trio)
scope.shield = True
partial(trio.fail_after, 1)
"""


def test_every_scope_and_every_cancel_is_marked() -> None:
    """On the line before; and no mark is left where there is nothing."""
    assert {each.name: each.unmarked for each in MODULES if each.unmarked} == {}
    assert {each.name: each.stray for each in MODULES if each.stray} == {}


def test_the_scopes_are_those_of_the_table() -> None:
    """Each in its file; one mark a scope, but where one statement makes two."""
    found = {(scope, each.name) for each in MODULES for scope in each.scopes}
    assert found == {(scope, row[1].strip("`")) for scope, row in SCOPES.items()}
    several = {scope: at for each in MODULES for scope, at in each.scopes.items() if len(at) > 1}
    assert {scope: len(at) for scope, at in several.items()} == dict.fromkeys(
        SHIELDS_WITH_A_DEADLINE, 2
    )
    assert all(len(set(at)) == 1 for at in several.values())


def test_who_cancels_is_who_the_table_says() -> None:
    """The only callers of a scope's cancel()."""
    found: dict[str, set[str]] = {scope: set() for scope in SCOPES}
    for each in MODULES:
        for scope, functions in each.cancels.items():
            found[scope] |= functions
    assert found == {scope: set(re.findall(r"`([^`]+)`", row[4])) for scope, row in SCOPES.items()}


def test_who_sets_deadlines_is_who_the_table_says() -> None:
    """A deadline that has passed is a cancel() by another name."""
    found: dict[str, set[str]] = {}
    for each in MODULES:
        for scope, functions in each.deadlines.items():
            found.setdefault(scope, set()).update(functions)
    told = {scope: set(re.findall(r"`([^`]+)`", row[2])) for scope, row in DEADLINES.items()}
    assert found == told
    assert set(told) <= set(SCOPES)


def test_every_scope_ends() -> None:
    """By itself or by somebody."""
    for scope, row in SCOPES.items():
        assert row[3] not in ("", NOTHING), scope
        assert row[3] != "never" or row[4] != NOTHING or "." in scope, scope


def test_every_shield_has_an_end() -> None:
    """All of them: whoever adds one has to say how it ends."""
    shields = {scope for each in MODULES for scope in each.shields}
    bounded = SHIELDS_WITH_A_DEADLINE
    assert shields == {"S4.carrying", "S4.closing", "S5", *bounded}
    assert shields == {scope for scope, row in SCOPES.items() if row[5] != NOTHING}


def test_every_public_async_function_says_its_word() -> None:
    """As its docstring's last line, with rows that exist; and each row is somebody's."""
    wrong, rows = [], set()
    for each in MODULES:
        for function, line in each.words.items():
            match = LAST_LINE.fullmatch(line)
            if match is None:
                wrong.append(f"{each.name}: {function}: {line!r}")
            elif match[2]:
                rows |= set(match[2].split(", "))
    assert wrong == []
    assert rows == set(ROWS)


def test_every_row_is_whole() -> None:
    """Each has its six fields, in order, with words in each, and its own number."""
    numbers = [int(re.sub(r"\D", "", name)) for name in ROWS if not name.endswith("b")]
    assert numbers == list(range(1, len(numbers) + 1))
    for name, row in ROWS.items():
        assert tuple(field for field, _ in row.fields) == FIELDS, name
        for field, text in row.fields:
            assert text.endswith("."), f"{name}: {field} ends in the middle"
            assert text != ".", f"{name}: {field} says nothing"


def test_every_row_is_found_from_who_is_hit() -> None:
    """The table at the top leads to each row, and what is mentioned anywhere is a row."""
    index = TEXT.split("## Which row\n", 1)[1].split("\n## ", 1)[0]
    assert set(re.findall(r"\bC\d+b?\b", index)) == set(ROWS)
    assert set(re.findall(r"\bC\d+b?\b", TEXT)) == set(ROWS)


def test_every_row_says_who_cancels_what() -> None:
    """Scopes of the table, each with a function that cancels it where there is one; or nothing."""
    for name, row in ROWS.items():
        assert row.scopes <= set(SCOPES), (name, row.scopes - set(SCOPES))
        assert row.scopes or row["Cancels"].lower().startswith("nothing"), name
        for scope in row.scopes:
            deadline = DEADLINES[scope][2] if scope in DEADLINES else ""
            who = set(re.findall(r"`([^`]+)`", SCOPES[scope][4] + deadline))
            assert not who or who & row.functions, f"{name}: {scope} is cancelled by {who}"


def test_every_name_of_a_row_is_one_of_the_source() -> None:
    """Functions, constants, settings, files. Who moves one meets this test."""
    known = defined() | FOREIGN | set(get_args(Reason))
    wrong = {name: row.identifiers - known for name, row in ROWS.items()}
    assert {name: unknown for name, unknown in wrong.items() if unknown} == {}


def test_every_figure_that_names_its_constant_is_that_of_the_source() -> None:
    """As in ``10 s (`START_TIMEOUT_S`)``."""
    values = constants()
    wrong = [
        f"{name}: {figure:g} is not {constant}, {values.get(constant)}"
        for name, row in ROWS.items()
        for figure, constant in row.figures
        if figure not in values.get(constant, ())
    ]
    assert wrong == []
    assert sum(len(row.figures) for row in ROWS.values()) >= 3


def test_every_row_is_shown_by_tests_that_exist() -> None:
    """Once each; and none of them says that it shows other rows instead."""
    tests = rows_of_tests()
    for name, row in ROWS.items():
        named = row.tests
        assert named, name
        assert len(set(named)) == len(named), name
        assert set(named) <= set(tests), f"{name}: {set(named) - set(tests)}"
        others = {test for test in named if tests[test] and name not in tests[test]}
        assert not others, f"{name}: {others} show other rows"
    assert set().union(*tests.values()) <= set(ROWS)


def test_a_row_without_a_field_is_found() -> None:
    """And so are a name, a figure, and a line that belongs to nothing."""
    fields = "\n".join(f"- **{field}:** text." for field in FIELDS[:-1])
    (row,) = rows(f"### C1: it\n{fields}\n  more of it, 5 s (`NO_SUCH_S`), `Some.name`.\n").values()
    assert [field for field, _ in row.fields] == list(FIELDS[:-1])
    assert row["Caller sees"] == "text. more of it, 5 s (`NO_SUCH_S`), `Some.name`."
    assert row.figures == [(5.0, "NO_SUCH_S")]
    assert row.identifiers == {"NO_SUCH_S", "Some.name"}
    assert not row.identifiers & defined()
    with pytest.raises(AssertionError, match="belongs to no field"):
        rows(f"### C1: it\nwords\n{fields}\n")


def test_the_constants_of_the_source_are_found() -> None:
    """Of a module, of a class, with another one in them."""
    found = constants()
    assert found["UNKILLABLE_S"] == {10.0}
    assert found["linger_s"] == {1.0}
    assert found["_MOST_WAITING_BYTES"] == {4.0 * 2**20}


def test_a_difference_is_found() -> None:
    """Of a scope without a mark, a mark without a scope, and a cancel nobody has announced."""
    module = read("made_up.py", MADE_UP)
    assert module.unmarked == [4, 9, 12, 13]
    assert module.stray == [8]
    assert module.cancels == {"S5": {"run"}, "S6": {"run"}}
    assert module.deadlines == {"S3": {"run"}}
    assert module.words == {"run": "Runs."}


def test_a_scope_by_another_name_is_found() -> None:
    """Of another module, from an import, a variable, an argument, an attribute."""
    assert read("made_up.py", HIDDEN).unmarked == [2, 3, 4, 5, 6, 7]
