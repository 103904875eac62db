"""tools/test --quick: the checks and tests of the named files alone, on the source, in seconds."""

import ast
import sys
from pathlib import Path

from _env import ROOT, Environment, make_source_environment
from _linters import FRONT_END, check_front_end_types
from _steps import NOT_BY_DEFAULT, Steps, Word

SOURCE, TESTS = ROOT / "src", ROOT / "tests"
# Whole servers, other makes' clients and simulations: minutes, for files that many import.
_LONG = ("system", "interop", "machines")
_NO_TESTS = 5
_USAGE = """tools/test --quick: name the files that you work on, as in
  tools/test --quick src/penstock/jobs/job.py tests/jobs/test_job.py"""


def run_quick(steps: Steps, arguments: list[str]) -> int:
    """ruff, mypy (its cache knows what has changed) and pytest; the exit status.

    Test files that are named are run, or tests in them (FILE::NAME). Where none is, the test file
    is run that mirrors a named source file, or else those that import it. Other words are pytest's.
    """
    found = {word: path for word in arguments if (path := _named(word)) is not None}
    if not found:
        print(_USAGE, file=sys.stderr)
        return 2
    options = [word for word in arguments if word not in found]
    tests = [_below_root(word, path) for word, path in found.items() if _has_tests(path)]
    if not tests:
        for path in found.values():
            names = tests_of(path)
            print(f"Of {path.relative_to(ROOT)}: {' '.join(names) or 'no quick test imports it'}")
            tests += [name for name in names if name not in tests]
    environment = make_source_environment()
    _check(steps, environment, list(found.values()))
    if tests:
        steps.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(environment.cache / "hypothesis")
        _run_tests(steps, environment, [*tests, *options])
    print(steps.table(), flush=True)
    if steps.failed:
        print("FAILED " + "\nFAILED ".join(steps.failed), file=sys.stderr)
    return 1 if steps.failed else 0


def _named(word: str) -> Path | None:
    """The file or folder of the checkout that a word names, seen from here or from its root."""
    name = word.partition("::")[0]
    if word.startswith("-") or not name:
        return None
    for place in (Path.cwd(), ROOT):
        path = (place / name).resolve()
        if path.exists() and (path == ROOT or ROOT in path.parents):
            return path
    return None


def _has_tests(path: Path) -> bool:
    below = path == TESTS or TESTS in path.parents
    return below and (path.is_dir() or path.name.startswith("test_"))


def _below_root(word: str, path: Path) -> str:
    """As pytest takes it, which runs in the checkout's root."""
    _, separator, test = word.partition("::")
    return f"{path.relative_to(ROOT)}{separator}{test}"


def _check(steps: Steps, environment: Environment, paths: list[Path]) -> None:
    cache, scripts = environment.cache, environment.tools.parent
    front_end = ROOT / FRONT_END
    code = [path for path in paths if path.is_dir() or path.suffix == ".py" or path == front_end]
    if not code:
        return
    ruff: list[Word] = [scripts / "ruff", "check", "--cache-dir", cache / "ruff"]
    steps.check("ruff check", *ruff, *code)
    form: list[Word] = [scripts / "ruff", "format", "--check", "--cache-dir", cache / "ruff"]
    steps.check("ruff format", *form, *code)
    mypy: list[Word] = [environment.tools, "-m", "mypy", "--cache-dir", cache / "mypy-quick"]
    if others := [path for path in code if path != front_end]:
        steps.check("mypy --strict", *mypy, *others)
    if any(path == front_end or path in front_end.parents for path in code):
        check_front_end_types(steps, environment)


def _run_tests(steps: Steps, environment: Environment, arguments: list[str]) -> None:
    # In the option, so that no child inherits it.
    prefix = f"pycache_prefix={environment.compiled}"
    command: list[Word] = [environment.python, "-X", prefix, "-m", "pytest"]
    command += ["-o", f"cache_dir={environment.cache / 'pytest'}", "--durations=5"]
    if not any(word.startswith("-m") for word in arguments):
        command += ["-m", NOT_BY_DEFAULT]
    name = "pytest on the source"
    if steps.check(name, *command, *arguments, passes=(0, _NO_TESTS)) == _NO_TESTS:
        print("No test there runs by default; for the long ones add -m slow.")


def tests_of(path: Path) -> list[str]:
    """The test file that mirrors a source file; else all quick ones that import it."""
    if path == ROOT / FRONT_END:
        return [str(each.relative_to(ROOT)) for each in sorted(TESTS.glob("agent/test_front_end*"))]
    if SOURCE in path.parents:
        mirror = TESTS / path.relative_to(SOURCE / "penstock").with_name(f"test_{path.name}")
        if mirror.is_file():
            return [str(mirror.relative_to(ROOT))]
    modules = {
        name
        for file in ([path] if path.is_file() else path.rglob("*.py"))
        for name in _module_names(file)
    }
    return [
        str(file.relative_to(ROOT))
        for file in sorted(TESTS.rglob("test_*.py"))
        if not set(_LONG) & set(file.parts) and modules & _imported(file)
    ]


def _module_names(path: Path) -> set[str]:
    """What a file is imported as: in src below its package, elsewhere by its own name."""
    if path.suffix != ".py":
        return set()
    if SOURCE not in path.parents:
        return {path.stem}
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts)}


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found
