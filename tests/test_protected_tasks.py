"""^C ends no task of the library: each that it starts is protected (interrupts.py)."""

import ast
from collections.abc import Iterator

from marks import SOURCE

# What runs in its user's process. Servers and the command line receive SIGINT themselves.
LIBRARY = [
    *sorted((SOURCE / "jobs").rglob("*.py")),
    *sorted((SOURCE / "client").rglob("*.py")),
    *(SOURCE / "rpc" / f"{name}.py" for name in ("channel", "client_connection", "endpoint")),
]
METHODS, FUNCTION = "uninterrupted_methods", "uninterrupted"


def decorators(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    return {ast.unparse(each) for each in node.decorator_list}


def coroutines(node: ast.AST, protected: bool = False) -> Iterator[tuple[str, bool]]:
    """Each async function's name, and whether ^C is kept from it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from coroutines(child, METHODS in decorators(child))
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if isinstance(child, ast.AsyncFunctionDef):
                yield child.name, protected or FUNCTION in decorators(child)
            yield from coroutines(child)
        else:
            yield from coroutines(child, protected)


def started(tree: ast.AST) -> set[str]:
    """The names of what ``start_soon`` is given."""
    return {
        ast.unparse(node.args[0]).rsplit(".", 1)[-1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "start_soon"
    }


def test_every_task_of_the_library_is_protected() -> None:
    """All functions that have the name of one that is started."""
    trees = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text()) for path in LIBRARY}
    names = set().union(*(started(tree) for tree in trees.values()))
    assert {"_run", "_close", "reader_task", "carry", "pump", "told", "_wait_ended"} <= names
    found = {
        (file, name): protected
        for file, tree in trees.items()
        for name, protected in coroutines(tree)
        if name in names
    }
    assert len(found) > 20
    assert {where for where, protected in found.items() if not protected} == set()
