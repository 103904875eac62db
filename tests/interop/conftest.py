"""What of the foreign clients is not a Python package."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from this_run import this_run

_NPM_S = 300.0
_GO_BUILD_S = 300.0
# Where Debian's packages of Go libraries put their source: a workspace of before Go had modules.
_GO_PATH = Path("/usr/share/gocode")


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


@pytest.fixture(scope="session")
def grpc_go() -> Path:
    """The program of grpc_go_*.go, made by the Go and the library that Debian has.

    Once in a run, whatever its number of workers: compiling the library takes half a minute.
    """
    library = _GO_PATH / "src" / "google.golang.org" / "grpc"
    if shutil.which("go") is None or not library.is_dir():
        pytest.skip("NOT TESTED: no Go or no grpc (Debian: golang-go, golang-google-grpc-dev)")
    directory = Path(this_run().directory, "go")
    directory.mkdir(exist_ok=True)
    program = directory / "grpc_go_client"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build_go(sorted(Path(__file__).parent.glob("*.go")), program)
    return program


def _build_go(sources: Sequence[Path], program: Path) -> None:
    cache = program.parent / "cache"
    done = subprocess.run(
        ["go", "build", "-o", program, *sources],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_GO_BUILD_S,
        check=False,
        env={
            **os.environ,
            # Nothing is fetched, and nothing is left in anybody's home.
            "GO111MODULE": "off",
            "GOPATH": str(_GO_PATH),
            "GOCACHE": str(cache),
            "GOFLAGS": "",
            "CGO_ENABLED": "0",
        },
    )
    shutil.rmtree(cache, ignore_errors=True)
    # A client of ours that cannot be built is a fault of ours, and nothing to skip.
    assert done.returncode == 0, done.stdout[-4000:]
