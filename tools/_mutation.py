"""Mutants of a source file: mutmut's operators, each change as a whole file of its own.

mutmut 3 puts all mutants of a module into one file and lets a decorator choose between them; so it
leaves out what is no plain function: properties, constants, the fields of classes. Here a mutant is
the file with one change, so nothing is left out but what mutmut takes for no code (annotations,
decorators, docstrings, the arguments of ``len`` and ``isinstance``).
"""

import ast
import difflib
from collections import Counter
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import MetadataWrapper
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode


@dataclass(frozen=True, order=True)
class Name:
    """Names a mutant by what it changes, so that lines may move; ``nth`` counts equal ones from 1.

    ``inside`` is the function's or class's qualified name, empty at the module's level; ``was`` and
    ``now`` are the lines that differ, without indentation.
    """

    file: str
    inside: str
    was: str
    now: str
    nth: int = 1


@dataclass(frozen=True)
class Mutant:
    """One change: ``code`` is the whole file with it, ``diff`` shows it to people."""

    name: Name
    line: int
    code: str
    diff: str


class _Visitor(MutationVisitor):
    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and node.decorators:
            return False
        return super()._skip_node_and_children(node)


def make_mutants(file: str, source: str) -> list[Mutant]:
    """Every mutant of the source, by line; ``file`` is its path for people."""
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor(mutation_operators, IgnoredCode(set(), set(), set()))
    module = wrapper.visit(visitor)
    codes = dict.fromkeys(_changed(module, visitor))
    codes.pop(source, None)
    names = _names(source)
    seen: Counter[tuple[str, str, str]] = Counter()
    mutants = []
    for code in codes:
        line, was, now = _difference(source, code)
        inside = names[line]
        seen[inside, was, now] += 1
        name = Name(file, inside, was, now, seen[inside, was, now])
        mutants.append(Mutant(name, line, code, _diff(file, source, code)))
    return sorted(mutants, key=lambda mutant: mutant.line)


def _changed(module: cst.Module, visitor: MutationVisitor) -> list[str]:
    found = []
    for mutation in visitor.mutations:
        changed = module.deep_replace(mutation.original_node, mutation.mutated_node)
        assert isinstance(changed, cst.Module)
        found.append(changed.code)
    return found


def _names(source: str) -> list[str]:
    """The innermost function or class of each line, counted from 1."""
    names = [""] * (source.count("\n") + 2)

    def visit(node: ast.AST, outer: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = outer
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{outer}.{child.name}".lstrip(".")
                assert child.end_lineno is not None
                first = child.decorator_list[0].lineno if child.decorator_list else child.lineno
                names[first : child.end_lineno + 1] = [inner] * (child.end_lineno + 1 - first)
            visit(child, inner)

    visit(ast.parse(source), "")
    return names


def _difference(source: str, code: str) -> tuple[int, str, str]:
    """The first line that differs, counted from 1, and the lines before and after."""
    ours, theirs = source.splitlines(), code.splitlines()
    changes = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes()
    differing = [change[1:] for change in changes if change[0] != "equal"]
    was = ours[differing[0][0] : differing[-1][1]]
    now = theirs[differing[0][2] : differing[-1][3]]
    return differing[0][0] + 1, _stripped(was), _stripped(now)


def _stripped(lines: list[str]) -> str:
    return "\n".join(line.strip() for line in lines)


def _diff(file: str, source: str, code: str) -> str:
    lines = difflib.unified_diff(
        source.splitlines(), code.splitlines(), file, f"{file} (mutant)", n=1, lineterm=""
    )
    return "\n".join(lines)
