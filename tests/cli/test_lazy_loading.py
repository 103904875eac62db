"""What a verb does is imported when it is called, in one place; nothing else is imported late."""

import ast
import os
import subprocess
import sys

import pytest
from cli_verbs import COMMANDS
from marks import SOURCE
from patience import patient

HEAVY = (
    *("google", "purerpc", "cryptography", "penstock.client", "penstock.rpc", "penstock.pki"),
    *("trio", "attr", "anyio", "asyncio", "h2", "ssl", "socket"),
)
# What no verb needs, but certs and hints about files.
NEVER = {"purerpc", "anyio", "asyncio", "h2", "hyperframe", "cryptography"}
# Its imports are steps of a start, in an order that matters.
ENTRY = "__init__.py"
TELL = """
import atexit, sys
atexit.register(lambda: print(*sorted(sys.modules), file=sys.stderr))
from penstock.cli import main
main()
"""


def imported(*words: str) -> tuple[int, set[str]]:
    """The exit status of a command line, and every module that it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", TELL, *words],
        env={name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patient(30),
        check=False,
    )
    return done.returncode, set(done.stderr.splitlines()[-1].split())


def heavy(modules: set[str]) -> set[str]:
    return {name for name in modules for top in HEAVY if name == top or name.startswith(f"{top}.")}


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--help"], 0),
        (["run", "--help"], 0),
        (["certs", "issue", "--help"], 0),
        (["context", "add", "--help"], 0),
        (["context", "ls"], 0),
        (["version"], 0),
        (["--version"], 0),
        (["help", "certs", "issue"], 0),
        (["-o", "json", "start", "--nonsense", "ls"], 2),
        (["completion", "zsh"], 0),
        (["__complete", "bash", "penstock sta", "sta"], 0),
        (["__complete", "fish", "penstock", "stream", "--"], 0),
        (["stream", "--offset", "x", "1"], 2),
        (["wait"], 125),
        (["nonsense"], 2),
    ],
)
def test_what_asks_no_server_imports_nothing_heavy(words: list[str], status: int) -> None:
    """No Trio, no gRPC, no protobuf, no cryptography."""
    code, modules = imported(*words)
    assert code == status
    assert heavy(modules) == set()


def test_what_asks_a_server_does() -> None:
    """So the test above sees what it looks for."""
    code, modules = imported("list")
    assert code == 2  # no server is configured
    assert {"penstock.client", "penstock.rpc", "google"} <= heavy(modules)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_verbs_function_takes_what_is_declared(name: str) -> None:
    """Its parameters, by their names: none is missing, none is left over."""
    command = COMMANDS[name]
    declared = {each.name for each in command.params if each.expose_value}
    tree = ast.parse((SOURCE / "cli" / f"{MODULES[name]}.py").read_text())
    (function,) = (
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == command.name
    )
    taken = {each.arg for each in (*function.args.args, *function.args.kwonlyargs)}
    assert taken - {"settings"} == declared
    calls = name not in ("completion", "help", "schema")
    assert ("settings" in taken) == calls


def modules_of_verbs() -> dict[str, str]:
    """Each verb's module, as the files that declare verbs spell it."""
    found = {}
    declaring = [p for p in (SOURCE / "cli").glob("*.py") if "verb_forms import" in p.read_text()]
    for path in declaring:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "verb":
                module, function = ast.literal_eval(node.args[0]).split(".")
                found[function] = module
    return {name: found[command.name] for name, command in COMMANDS.items()}


MODULES = modules_of_verbs()


def test_nothing_is_imported_inside_of_a_function() -> None:
    """But by the loader, and in the first steps of a start."""
    found = {
        path.name
        for path in (SOURCE / "cli").glob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert found == {ENTRY}
    loaders = {
        path.name
        for path in (SOURCE / "cli").glob("*.py")
        if "import_module" in path.read_text() or "__import__" in path.read_text()
    }
    assert loaders == {"lazy.py"}
