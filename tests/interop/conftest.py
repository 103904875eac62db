"""What of the foreign clients is not a Python package."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_NPM_S = 300.0


@pytest.fixture(scope="session")
def npm() -> Iterator[Path]:
    """``node_modules`` with what package.json names, away with the run."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"NOT TESTED: no {program} here (Debian: nodejs, npm)")
    with tempfile.TemporaryDirectory(prefix="npm-") as directory:
        shutil.copy(Path(__file__).with_name("package.json"), directory)
        options = ("--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
        try:
            done = subprocess.run(
                ["npm", "install", *options],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_NPM_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"NOT TESTED: npm install was not done in {_NPM_S:g} s")
        if done.returncode != 0:
            pytest.skip(f"NOT TESTED: npm install failed:\n{done.stdout[-2000:]}")
        yield Path(directory, "node_modules")
