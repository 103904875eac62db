"""docs/cancellation.md and the source say the same: rows, scopes, who ends them, shields, words."""

import ast
import re
from pathlib import Path

from marks import modules, read

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "cancellation.md").read_text()
NOTHING = "\N{EN DASH}"
WORDS = ("atomic", "completes", "minimum cleanup", "no checkpoint")
# Two in one statement.
SHIELDS_WITH_A_DEADLINE = {"S5.reserve", "S4.given_up", "S4.standalone"}
# Ends every docstring that tells what cancellation does.
LAST_LINE = re.compile(rf"Cancellation: ({'|'.join(WORDS)})(?:; (C\d+b?(?:, C\d+b?)*))?\.")


def table(header: str) -> list[list[str]]:
    """The cells of the rows below a header."""
    lines = iter(TEXT.splitlines())
    for line in lines:
        if line.startswith(header):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


SCOPES = {row[0]: row for row in table("| scope | file |")}
DEADLINES = {row[0]: row for row in table("| scope | deadline |")}
ROWS = {row[0]: row for row in table("| id | event |")}


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


def test_every_row_is_whole_and_shown_by_tests_that_exist() -> None:
    """C1 to C30, each with its scope or none, who does it, a bound, and tests."""
    assert [row for row in ROWS if "b" not in row] == [f"C{number}" for number in range(1, 31)]
    tests = rows_of_tests()
    for name, row in ROWS.items():
        assert len(row) == 8, name
        assert all(row), name
        scopes = set(re.findall(r"\b[SK]\d(?:\.\w+)?", row[2]))
        assert scopes <= set(SCOPES), (name, scopes - set(SCOPES))
        assert scopes or row[2] == NOTHING, name
        named = re.findall(r"`(test_\w+)`", row[7])
        assert named, name
        assert set(named) <= set(tests), f"{name}: {set(named) - set(tests)}"
        others = {test for test in named if tests[test] and name not in tests[test]}
        assert not others, f"{name}: {others} show other rows"
    assert set().union(*tests.values()) <= set(ROWS)


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
