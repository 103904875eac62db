"""docs/cancellation.md and the source say the same: rows, scopes, who cancels, shields, words."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "penstock"
TEXT = (ROOT / "docs" / "cancellation.md").read_text()
NOTHING = "\N{EN DASH}"
WORDS = ("atomic", "completes", "minimum cleanup", "no checkpoint")
MAKES_A_SCOPE = {
    *("open_nursery", "CancelScope"),
    *("move_on_after", "move_on_at", "fail_after", "fail_at"),
}
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
ROWS = {row[0]: row for row in table("| id | event |")}


@dataclass
class Module:
    """What one file of the source has."""

    name: str
    scopes: dict[str, list[int]] = field(default_factory=dict)
    cancels: dict[str, set[str]] = field(default_factory=dict)
    shields: set[str] = field(default_factory=set)
    unmarked: list[int] = field(default_factory=list)
    stray: list[int] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    """The docstring's last line of each public async function."""


def modules() -> Iterator[Module]:
    """All that run on Trio: not the supervisor, whose timers have a cancel() too."""
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        if not name.startswith(("supervisor/", "proto/")):
            yield read(name, path.read_text())


def read(name: str, text: str) -> Module:
    lines = [line.strip() for line in text.splitlines()]
    module = Module(name)
    used: set[int] = set()

    def mark(line: int, word: str) -> str | None:
        match = re.fullmatch(rf"# {word} (\S+)\.", lines[line - 2])
        if match is None:
            module.unmarked.append(line)
            return None
        used.add(line - 1)
        return match[1]

    def visit(node: ast.AST, names: tuple[str, ...], public: bool) -> None:
        for child in ast.iter_child_nodes(node):
            inner, open_ = names, public
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = (*names, child.name)
                open_ = public and not re.match(r"_(?!_)", child.name)
                if isinstance(child, ast.AsyncFunctionDef) and open_ and is_api(name, child):
                    lines_ = (ast.get_docstring(child) or "").splitlines()
                    module.words[".".join(inner)] = lines_[-1] if lines_ else ""
                if not isinstance(child, ast.ClassDef):
                    open_ = False  # what is defined within is nobody else's to call
            if is_scope(child) and (scope := mark(child.lineno, "Scope")):
                module.scopes.setdefault(scope, []).append(child.lineno)
                if any(keyword.arg == "shield" for keyword in child.keywords):
                    module.shields.add(scope)
            if is_cancel(child, node) and (scope := mark(child.lineno, "Cancels")):
                module.cancels.setdefault(scope, set()).add(".".join(inner))
            visit(child, inner, open_)

    visit(ast.parse(text), (), True)
    marks = {at for at, line in enumerate(lines, 1) if re.match(r"# (Scope|Cancels) ", line)}
    module.stray = sorted(marks - used)
    return module


def is_scope(node: ast.AST) -> TypeGuard[ast.Call]:
    """``trio.open_nursery()`` and its like."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in MAKES_A_SCOPE
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "trio"
    )


def is_cancel(node: ast.AST, parent: ast.AST) -> TypeGuard[ast.Attribute]:
    """``scope.cancel()`` or ``scope.cancel`` given away; Call.cancel takes a reason, and is the
    one that has the scope's."""
    with_reason = isinstance(parent, ast.Call) and parent.func is node and bool(parent.args)
    return isinstance(node, ast.Attribute) and node.attr == "cancel" and not with_reason


def is_api(name: str, function: ast.AsyncFunctionDef) -> bool:
    """Not the verbs of the command line, which are nobody's to call, and whose text is help."""
    return not (name.startswith("cli/") and function.decorator_list) or any(
        isinstance(each, ast.Name) and each.id == "asynccontextmanager"
        for each in function.decorator_list
    )


MODULES = list(modules())

MADE_UP = """
async def run():
    'Runs.'
    with trio.CancelScope(shield=True) as scope:
        # Cancels S5.
        scope.cancel()
        call.cancel(reason)
    # Scope S4.
    give(scope.cancel)
"""


def test_every_scope_and_every_cancel_is_marked() -> None:
    """On the line before; and no mark is left where there is nothing."""
    assert {each.name: each.unmarked for each in MODULES if each.unmarked} == {}
    assert {each.name: each.stray for each in MODULES if each.stray} == {}


def test_the_scopes_are_those_of_the_table() -> None:
    """Each in its file; one mark a scope, but where one statement makes two."""
    found = {(scope, each.name) for each in MODULES for scope in each.scopes}
    assert found == {(scope, row[1].strip("`")) for scope, row in SCOPES.items()}
    assert all(len(set(at)) == 1 for each in MODULES for at in each.scopes.values())


def test_who_cancels_is_who_the_table_says() -> None:
    """The only callers of a scope's cancel()."""
    found: dict[str, set[str]] = {scope: set() for scope in SCOPES}
    for each in MODULES:
        for scope, functions in each.cancels.items():
            found[scope] |= functions
    assert found == {scope: set(re.findall(r"`([^`]+)`", row[4])) for scope, row in SCOPES.items()}


def test_every_scope_ends() -> None:
    """By itself or by somebody."""
    for scope, row in SCOPES.items():
        assert row[3] not in ("", NOTHING), scope
        assert row[3] != "never" or row[4] != NOTHING or "." in scope, scope


def test_every_shield_has_an_end() -> None:
    """All of them: whoever adds one has to say how it ends."""
    shields = {scope for each in MODULES for scope in each.shields}
    assert shields == {"S4.carrying", "S4.closing", "S4.given_up", "S4.standalone", "S5"}
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
    """C1 to C22, each with its scope or none, who does it, a bound, and tests."""
    assert [row for row in ROWS if "b" not in row] == [f"C{number}" for number in range(1, 23)]
    tests = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    for name, row in ROWS.items():
        assert len(row) == 8, name
        assert all(row), name
        scopes = set(re.findall(r"\b[SK]\d(?:\.\w+)?", row[2]))
        assert scopes <= set(SCOPES), (name, scopes - set(SCOPES))
        assert scopes or row[2] == NOTHING, name
        named = re.findall(r"`(test_\w+)`", row[7])
        assert named, name
        assert set(named) <= tests, f"{name}: {set(named) - tests}"


def test_a_difference_is_found() -> None:
    """Of a scope without a mark, a mark without a scope, and a cancel nobody has announced."""
    module = read("made_up.py", MADE_UP)
    assert module.unmarked == [4, 9]
    assert module.stray == [8]
    assert module.cancels == {"S5": {"run"}}
    assert module.words == {"run": "Runs."}
