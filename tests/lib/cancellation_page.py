"""docs/cancellation.md, read: its rows, which are blocks of six fields, and its tables."""

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "penstock"
PAGE = ROOT / "docs" / "cancellation.md"
NOTHING = "\N{EN DASH}"
FIELDS = ("Event", "Cancels", "Afterwards", "Bound", "Caller sees", "Tests")
_ROW = re.compile(r"^### (C\d+b?)(?:: .+)?$")
_FIELD = re.compile(r"^- \*\*([^*]+):\*\* (.*)$")
_SCOPE = re.compile(r"\b[SK]\d(?:\.\w+)?\b")
_CODE = re.compile(r"`([^`]+)`")
_NUMBER = r"(\d[\d,]*(?:\.\d+)?)"
_COUNTED = "requests|jobs|connections|calls"
_FIGURE = re.compile(rf"{_NUMBER} (s|ms|minutes|KiB|MiB|{_COUNTED}) \(`([A-Za-z_]+)`\)")
_UNITS = {"s": 1, "ms": 0.001, "minutes": 60, "KiB": 2**10, "MiB": 2**20}


@dataclass(frozen=True)
class Row:
    """One event. ``fields`` in the order in which they stand, each on one line."""

    name: str
    fields: tuple[tuple[str, str], ...]

    def __getitem__(self, name: str) -> str:
        return dict(self.fields)[name]

    @property
    def scopes(self) -> set[str]:
        """That the event ends."""
        return set(_SCOPE.findall(self["Cancels"]))

    @property
    def functions(self) -> set[str]:
        """That end them."""
        return set(_CODE.findall(self["Cancels"]))

    @property
    def tests(self) -> list[str]:
        """That show it, in the order of the page."""
        return re.findall(r"`(test_\w+)`", self["Tests"])

    @property
    def identifiers(self) -> set[str]:
        """All of the source that it names, but its tests."""
        text = " ".join(text for name, text in self.fields if name != "Tests")
        return {each for each in _CODE.findall(text) if re.fullmatch(r"[A-Za-z_][\w.]*", each)}

    @property
    def figures(self) -> list[tuple[float, str]]:
        """Figures with the name of the constant or setting that each of them is."""
        text = " ".join(text for _, text in self.fields)
        return [
            (float(number.replace(",", "")) * _UNITS.get(unit, 1), name)
            for number, unit, name in _FIGURE.findall(text)
        ]


def rows(text: str) -> dict[str, Row]:
    """Of the page, in its order."""
    found: dict[str, Row] = {}
    name, fields = "", list[tuple[str, str]]()
    for line in [*text.splitlines(), "# end"]:
        if line.startswith("#"):
            if name:
                assert name not in found, f"{name} stands there twice"
                found[name] = Row(name, tuple(fields))
            match = _ROW.match(line)
            name, fields = (match[1] if match else ""), []
        elif name and (match := _FIELD.match(line)):
            fields.append((match[1], match[2]))
        elif name and line.startswith("  ") and fields:
            fields[-1] = (fields[-1][0], f"{fields[-1][1]} {line.strip()}")
        else:
            assert not name or not line, f"{name}: {line!r} belongs to no field"
    return found


def table(text: str, header: str) -> list[list[str]]:
    """The cells of the rows below a header."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(header):
            break
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def _trees() -> Iterator[ast.Module]:
    for path in sorted(SOURCE.rglob("*.py")):
        if "proto" not in path.parts:
            yield ast.parse(path.read_text())


@functools.cache
def defined() -> frozenset[str]:
    """Every name that the source defines: functions and classes as ``Class.method``, and alone
    those, attributes, arguments and constants; and its files."""
    found = {path.name for path in SOURCE.rglob("*.py")}

    def visit(node: ast.AST, names: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            inner = names
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = (*names, child.name)
                found.update(".".join(inner[at:]) for at in range(len(inner)))
            elif isinstance(child, ast.arg):
                found.add(child.arg)
            elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                found.add(child.id)
            elif isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store):
                found.add(child.attr)
            visit(child, inner)

    for tree in _trees():
        visit(tree, ())
    return frozenset(found)


@functools.cache
def constants() -> Mapping[str, set[float]]:
    """Values by name: constants of modules and defaults of classes' fields. A name that several
    have has several."""
    found: dict[str, set[float]] = {}
    for tree in _trees():
        values: dict[str, float] = {"KIB": 2.0**10, "MIB": 2.0**20}
        for node in ast.walk(tree):
            target: ast.expr
            if isinstance(node, ast.AnnAssign) and node.value is not None:
                target = node.target
            elif isinstance(node, ast.Assign) and len(node.targets) == 1:
                target = node.targets[0]
            else:
                continue
            value = _value(node.value, values)
            if value is not None and isinstance(target, ast.Name):
                values[target.id] = value
                found.setdefault(target.id, set()).add(value)
    return found


def _value(node: ast.expr | None, values: Mapping[str, float]) -> float | None:
    """Of an expression of numbers; None of any other."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.Name(name):
            return values.get(name)
        case ast.BinOp(left, operator, right):
            a, b = _value(left, values), _value(right, values)
            if a is None or b is None:
                return None
            match operator:
                case ast.Mult():
                    return a * b
                case ast.Add():
                    return a + b
                case ast.Pow():
                    return float(a**b)
                case ast.LShift():
                    return float(int(a) << int(b))
    return None
