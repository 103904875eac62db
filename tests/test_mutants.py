"""What tools/mutants changes, and that the list of explained survivors is of this source."""

import ast
import importlib
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

SOURCE = '''\
"""Not code."""

LIMIT = 3


class Thing:
    size: int = 1

    @property
    def twice(self) -> int:
        """Nor this."""
        return self.size * 2

    def both(self) -> tuple[bool, bool]:
        first = self.size < LIMIT
        if first:
            return True, True
        if not first:
            return True, True
        return False, False
'''


@pytest.fixture
def mutation(monkeypatch: pytest.MonkeyPatch) -> Any:
    """tools/_mutation.py, which is no part of any package."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    yield importlib.import_module("_mutation")
    sys.modules.pop("_mutation", None)


def test_constants_fields_and_properties_are_changed_too(mutation: Any) -> None:
    """Each mutant is a whole file with one change, which is named by function and lines."""
    mutants = mutation.make_mutants("thing.py", SOURCE)
    names = {(each.name.inside, each.name.was, each.name.now): each for each in mutants}
    for name in [
        ("", "LIMIT = 3", "LIMIT = 4"),
        ("Thing", "size: int = 1", "size: int = 2"),
        ("Thing.twice", "return self.size * 2", "return self.size / 2"),
        ("Thing.both", "first = self.size < LIMIT", "first = self.size <= LIMIT"),
    ]:
        mutant = names[name]
        assert mutant.code == SOURCE.replace(name[1], name[2])
        assert SOURCE.splitlines()[mutant.line - 1].strip() == name[1]
    assert len({each.code for each in mutants}) == len(mutants)
    for mutant in mutants:
        ast.parse(mutant.code)
        assert "Not code." in mutant.code
        assert "Nor this." in mutant.code
        assert "-> tuple[bool, bool]" in mutant.code


def test_equal_changes_of_a_function_are_counted(mutation: Any) -> None:
    """So that an entry of the list explains one of them, and not the next one as well."""
    same = [
        each
        for each in mutation.make_mutants("thing.py", SOURCE)
        if (each.name.was, each.name.now) == ("return True, True", "return False, True")
    ]
    assert [(each.line, each.name.nth) for each in same] == [(17, 1), (19, 2)]


def test_the_list_is_of_lines_that_are_there() -> None:
    """Whoever changes a line finds out here and not in minutes; whether its mutants survive is
    what the tool itself says."""
    listed = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["explained"]
    assert listed
    for entry in listed:
        assert entry["why"].endswith(".")
        body = source_of(ROOT / entry["file"], entry["inside"])
        lines = [line.strip() for line in body.splitlines()]
        for was, now, *nth in entry["mutants"]:
            assert was != now
            wanted = was.split("\n")
            count = sum(
                lines[at : at + len(wanted)] == wanted for at in range(len(lines) - len(wanted) + 1)
            )
            assert count >= (nth[0] if nth else 1), f"{entry['file']}: {entry['inside']}: {was}"


def source_of(path: Path, inside: str) -> str:
    """The text of a function or class, by its qualified name."""
    source = path.read_text()
    node: ast.AST = ast.parse(source)
    for name in filter(None, inside.split(".")):
        node = next(
            child
            for child in ast.walk(node)
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and child.name == name
        )
    return source if isinstance(node, ast.Module) else ast.get_source_segment(source, node) or ""
