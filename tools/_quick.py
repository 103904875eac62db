"""tools/test --quick: the checks and tests of the named files alone, on the source, in seconds."""

import ast
import os
import sys
from pathlib import Path

from _env import ROOT, Environment, make_source_environment
from _steps import NOT_BY_DEFAULT, Steps, Word

SOURCE, TESTS = ROOT / "src", ROOT / "tests"


def run_quick(steps: Steps, arguments: list[str]) -> int:
    """ruff, mypy (its cache knows what has changed) and pytest; the exit status.

    Test files that are named are run. Where none is, those outside of tests/system are that import
    a source file which is named. What does not name a file is pytest's.
    """
    named = [word for word in arguments if not word.startswith("-") and (ROOT / word).exists()]
    if not named:
        print(
            "tools/test --quick: name the files that you work on, as in\n"
            "  tools/test --quick src/penstock/jobs/job.py tests/jobs/test_job.py",
            file=sys.stderr,
        )
        return 2
    options = [word for word in arguments if word not in named]
    tests = [word for word in named if TESTS in (ROOT / word).resolve().parents]
    if not tests:
        for word in named:
            found = tests_of(ROOT / word)
            print(f"Of {word}: {' '.join(found) or 'no test outside of tests/system imports it'}")
            tests += [name for name in found if name not in tests]
    environment = make_source_environment()
    cache, scripts = environment.cache, environment.tools.parent
    steps.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(cache / "hypothesis")
    code = [word for word in named if (ROOT / word).is_dir() or word.endswith(".py")]
    ruff: list[Word] = [scripts / "ruff", "check", "--cache-dir", cache / "ruff"]
    steps.check("ruff check", *ruff, *code)
    steps.check(
        "ruff format", scripts / "ruff", "format", "--check", "--cache-dir", cache / "ruff", *code
    )
    mypy: list[Word] = [environment.tools, "-m", "mypy", "--cache-dir", cache / "mypy-quick"]
    steps.check("mypy --strict", *mypy, *code)
    if tests:
        _run_tests(steps, environment, [*tests, *options])
    print(steps.table(), flush=True)
    if steps.failed:
        print("FAILED " + "\nFAILED ".join(steps.failed), file=sys.stderr)
    return 1 if steps.failed else 0


def _run_tests(steps: Steps, environment: Environment, arguments: list[str]) -> None:
    # Compiled files outside of the checkout; in the option, so that no child inherits it.
    compiled = environment.cache / "compiled" / str(os.geteuid())
    options = ["-o", f"cache_dir={environment.cache / 'pytest'}", "--durations=5"]
    command: list[Word] = [
        environment.python,
        "-X",
        f"pycache_prefix={compiled}",
        "-m",
        "pytest",
        *options,
    ]
    if "-m" not in arguments:
        command += ["-m", NOT_BY_DEFAULT]
    steps.check("pytest on the source", *command, *arguments)


def tests_of(path: Path) -> list[str]:
    """The test files outside of tests/system that import a module, or one of a folder."""
    modules = {
        ".".join(file.relative_to(SOURCE).with_suffix("").parts)
        for file in ([path] if path.is_file() else path.rglob("*.py"))
        if SOURCE in file.resolve().parents
    }
    return [
        str(file.relative_to(ROOT))
        for file in sorted(TESTS.rglob("test_*.py"))
        if "system" not in file.parts and modules & _imported(file)
    ]


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found
