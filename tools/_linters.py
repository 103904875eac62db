"""The checks of tools/test that run no tests: ruff, flake8-async and mypy, and on which files."""

import contextlib
import subprocess
from pathlib import Path
from typing import Final

from _env import ROOT, Environment
from _steps import Steps, Word

FRONT_END: Final = "src/penstock/agent/penstock"
"""sh and Python in one file, which has no ending because it is installed as it is."""


def run_checks(steps: Steps, environment: Environment, *, everything: bool) -> None:
    """All of them; flake8-async over what has changed, or over everything."""
    tools, cache = environment.tools, environment.cache
    scripts = tools.parent
    steps.check("generated code is fresh", tools, "tools/gen_proto", "--check")
    steps.check("ruff check", scripts / "ruff", "check", "--cache-dir", cache / "ruff")
    steps.check("ruff format", scripts / "ruff", "format", "--check", "--cache-dir", cache / "ruff")
    files = every_file() if everything else changed_files()
    if files:
        steps.check("flake8-async", tools, "-m", "flake8", *files)
    else:
        print("==> flake8-async: no file has changed (all files: tools/test --all)")
    steps.check("mypy --strict", tools, "-m", "mypy", "--cache-dir", cache / "mypy")
    check_front_end_types(steps, environment)


def check_front_end_types(steps: Steps, environment: Environment) -> None:
    """By itself, because to mypy its name is that of the package; in less than a second."""
    mypy: list[Word] = [environment.tools, "-m", "mypy"]
    mypy += ["--cache-dir", environment.cache / "mypy-front-end", FRONT_END]
    steps.check("mypy --strict, the front end", *mypy)


def every_file() -> list[str]:
    """flake8 looks into directories for names that end in .py only."""
    found = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tools").rglob("*"))
    return [
        "src",
        FRONT_END,
        "tests",
        "tools",
        *(name for name in found if _is_program(ROOT / name)),
    ]


def changed_files() -> list[str]:
    """Python files that differ from what the remote repository has, and those not yet in any.

    flake8-async reads a file in a tenth of a second: too long for all of them each time. ruff's
    rules about async code, which take no time, read all.
    """
    if not (base := _git("merge-base", "HEAD", "@{upstream}") or _git("rev-parse", "HEAD")):
        return every_file()
    names = {
        *_git("diff", "--name-only", "--diff-filter=d", base[0]),
        *_git("ls-files", "--others", "--exclude-standard"),
    }
    return sorted(name for name in names if name.endswith(".py") or _is_program(ROOT / name))


def _is_program(path: Path) -> bool:
    """One that is Python without saying so in its name: below tools/, and the agent's front end."""
    if path == ROOT / FRONT_END:
        return True
    if path.suffix or ROOT / "tools" not in path.parents or not path.is_file():
        return False
    return path.read_bytes().startswith(b"#!/usr/bin/env python3")


def _git(*words: str) -> list[str]:
    """The lines that git prints; none where it fails, as outside of a checkout."""
    with contextlib.suppress(OSError):
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.splitlines() if done.returncode == 0 else []
    return []
