"""The marks in the source, which docs/cancellation.md is compared with."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

SOURCE = Path(__file__).resolve().parent.parent.parent / "src" / "penstock"
MAKES_A_SCOPE = {
    *("open_nursery", "CancelScope", "as_safe_channel"),
    *("move_on_after", "move_on_at", "fail_after", "fail_at"),
}


@dataclass
class Module:
    """What one file of the source has."""

    name: str
    scopes: dict[str, list[int]] = field(default_factory=dict)
    cancels: dict[str, set[str]] = field(default_factory=dict)
    deadlines: dict[str, set[str]] = field(default_factory=dict)
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

    def mark(line: int, word: str) -> list[str]:
        """The scopes that the line before it names."""
        match = re.fullmatch(rf"# {word} (\S+(?:, \S+)*)\.", lines[line - 2])
        if match is None:
            module.unmarked.append(line)
            return []
        used.add(line - 1)
        return match[1].split(", ")

    def visit(node: ast.AST, names: tuple[str, ...], public: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if is_annotation(child, node):
                continue
            inner, open_ = names, public
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inner = (*names, child.name)
                open_ = public and not re.match(r"_(?!_)", child.name)
                if isinstance(child, ast.AsyncFunctionDef) and open_ and is_api(name, child):
                    lines_ = (ast.get_docstring(child) or "").splitlines()
                    module.words[".".join(inner)] = lines_[-1] if lines_ else ""
                if not isinstance(child, ast.ClassDef):
                    open_ = False  # what is defined within is nobody else's to call
            if is_scope(child):
                for scope in mark(child.lineno, "Scope"):
                    module.scopes.setdefault(scope, []).append(child.lineno)
                    # None: a mapping, whatever is in it.
                    if any(keyword.arg in ("shield", None) for keyword in child.keywords):
                        module.shields.add(scope)
            if is_cancel(child, node):
                for scope in mark(child.lineno, "Cancels"):
                    module.cancels.setdefault(scope, set()).add(".".join(inner))
            if is_set(child, "deadline"):
                for scope in mark(child.lineno, "Deadline"):
                    module.deadlines.setdefault(scope, set()).add(".".join(inner))
            if is_hidden(child, node) or is_set(child, "shield"):
                module.unmarked.append(child.lineno)
            visit(child, inner, open_)

    visit(ast.parse(text), (), True)
    marks = {
        at for at, line in enumerate(lines, 1) if re.match(r"# (Scope|Cancels|Deadline) ", line)
    }
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


def is_set(node: ast.AST, name: str) -> TypeGuard[ast.Attribute]:
    """``scope.deadline = x``, in any form of assignment."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr in (name, f"relative_{name}")
        and isinstance(node.ctx, ast.Store)
    )


def is_annotation(node: ast.AST, parent: ast.AST) -> bool:
    """Types make nothing."""
    return any(getattr(parent, name, None) is node for name in ("annotation", "returns"))


def is_hidden(node: ast.AST, parent: ast.AST) -> TypeGuard[ast.stmt | ast.expr]:
    """A scope that would be made under a name that ``is_scope`` does not know."""
    match node:
        case ast.Import():
            return any(each.name == "trio" and each.asname for each in node.names)
        case ast.ImportFrom():
            taken = {each.name for each in node.names}
            return node.module == "trio" and bool(taken & {*MAKES_A_SCOPE, "*"})
        case ast.Name("trio"):
            return not isinstance(parent, ast.Attribute)
        case ast.Attribute(ast.Name("trio"), attribute):
            called = isinstance(parent, ast.Call) and parent.func is node
            return attribute in MAKES_A_SCOPE and not called
    return False


def is_api(name: str, function: ast.AsyncFunctionDef) -> bool:
    """Not the verbs of the command line, which are nobody's to call, and whose text is help."""
    return not (name.startswith("cli/") and function.decorator_list) or any(
        isinstance(each, ast.Name) and each.id == "asynccontextmanager"
        for each in function.decorator_list
    )
