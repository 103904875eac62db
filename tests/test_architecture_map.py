"""The map of docs/architecture.md leads somewhere: each name that it gives is in that file."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

from documents import ROOT
from test_architecture import ALLOWED, READ, SHARED

PAGE = ROOT / "docs" / "architecture.md"
# `file.py`: `name`, `name`; several files apart by semicolons.
_PLACE = re.compile(r"`([\w/]+\.py)`: ((?:`[\w.]+`(?:, )?)+)")


def section(heading: str) -> str:
    """What stands below a heading, up to the next one."""
    return PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def entries() -> list[tuple[str, str]]:
    """Each behaviour and where it is, on one line whatever the page has wrapped."""
    items = re.findall(r"^- (.*(?:\n  .*)*)", section("Where is …?"), re.MULTILINE)
    pairs = (" ".join(item.split()).partition(" — ") for item in items)
    return [(behaviour, where) for behaviour, _, where in pairs]


def places(where: str) -> list[tuple[str, list[str]]]:
    return [(match[1], re.findall(r"`([\w.]+)`", match[2])) for match in _PLACE.finditer(where)]


def file_of(path: str) -> Path:
    return ROOT / path if path.startswith("tests/") else ROOT / "src" / "penstock" / path


@cache
def names_in(path: Path) -> frozenset[str]:
    """Functions, classes, methods as Class.method, and what is assigned at the top."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {each.id for each in targets if isinstance(each, ast.Name)}
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return frozenset(found)


def wrong(listed: list[tuple[str, str]]) -> list[str]:
    """What of a map leads nowhere."""
    found = []
    for behaviour, where in listed:
        named = places(where)
        if not named or _PLACE.sub("", where).strip("; "):
            found.append(f"{behaviour}: not a file and its names: {where}")
        for path, names in named:
            file = file_of(path)
            if not file.is_file():
                found.append(f"{behaviour}: no file {path}")
            else:
                missing = sorted(set(names) - names_in(file))
                found += [f"{behaviour}: {path} has no {name}" for name in missing]
    return found


def test_every_place_of_the_map_exists() -> None:
    assert wrong(entries()) == []


def test_a_place_that_does_not_exist_is_found() -> None:
    """A file that has moved, a function that was renamed, an entry without a place."""
    listed = [
        ("moved", "`jobs/gone.py`: `Job`"),
        ("renamed", "`jobs/job.py`: `Job`, `Job.vanish`"),
        ("vague", "somewhere in `jobs/job.py`"),
    ]
    assert wrong(listed) == [
        "moved: no file jobs/gone.py",
        "renamed: jobs/job.py has no Job.vanish",
        "vague: not a file and its names: somewhere in `jobs/job.py`",
    ]


def test_no_behaviour_is_named_twice_and_there_are_many() -> None:
    counts = Counter(behaviour.casefold() for behaviour, _ in entries())
    assert [each for each, count in counts.items() if count > 1] == []
    assert len(counts) >= 30


def test_every_package_has_its_line_in_the_tree() -> None:
    """And the tree has no line for one that is gone."""
    block = section("The tree").split("```")[1]
    shown = re.findall(r"^ +([\w/]+)/ ", block, re.MULTILINE)
    source = ROOT / "src" / "penstock"
    packages = [path.parent.name for path in source.rglob("__init__.py") if path.parent != source]
    assert sorted(shown) == sorted([*packages, "policies"])


def test_the_table_of_layers_is_that_of_the_test() -> None:
    """A row for each package, with what it may import of penstock."""
    rows = re.findall(r"^\| `(\w+)/` \| ([^|]*) \|", section("Layers"), re.MULTILINE)
    shown = {package: set(re.findall(r"`(\w+)`", cell)) for package, cell in rows}
    assert shown == {package: below - {"__version__"} for package, below in ALLOWED.items()}


def test_the_shared_files_are_named() -> None:
    """Those of the supervisor's folder that the server's processes import."""
    (item,) = re.findall(r"^- Of `supervisor/` (.*(?:\n  .*)*)", section("Layers"), re.MULTILINE)
    shown = set(re.findall(r"`([\w/]+)\.py`", item))
    assert shown == {name.replace(".", "/") for name in SHARED | READ}


def test_the_seam_is_the_protocol_backend() -> None:
    """Its methods, and what is set on it."""
    (text,) = re.findall(r"\*\*The seam\*\* is (.*?)\.\s`jobs/", section("Layers"), re.DOTALL)
    tree = ast.parse((ROOT / "src/penstock/jobs/backends/base.py").read_text())
    (backend,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Backend"
    )
    members = {node.name for node in backend.body if isinstance(node, ast.FunctionDef)}
    members |= {node.name for node in backend.body if isinstance(node, ast.AsyncFunctionDef)}
    members |= {
        node.target.id
        for node in backend.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert set(re.findall(r"`(\w+)`", text)) == members
