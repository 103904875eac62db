"""The tools' own virtual environment: python3 and its venv module are all that is needed.

Layers outside the checkout, so that a checkout stays clean and may be read-only (and one
more over the first for tools/test --quick, which sees the checkout's source instead of a wheel):

- *dependencies*, by the hash of the pinned requirements and the interpreter;
- *docs*, beside it, by the hash of what builds the docs site, for tools/test --all alone;
- *project*, by the hash of what the wheel is built from: a small environment that holds the
  built wheel and sees the first one. It never changes once it is complete, so a run goes
  on undisturbed while somebody edits the source or runs another checkout.

All are made under a lock, at their final path (an environment cannot be moved), and count only
once a marker, written last, is there: an interrupted creation is begun anew.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
# Numeric and without entries in passwd, and neither systemd nor Debian gives them to anybody: no
# account of the machine is borrowed.
SERVER_UID = 65530
JOB_UID = 65531
_FIRST_UID = 1_900_000_000
_UIDS_A_PROCESS = 32
_COMPLETE = ".complete"
_DEVELOPMENT, _DOCS = "requirements-dev.txt", "requirements-docs.txt"
_WHEEL_INPUTS = ("pyproject.toml", "README.md", "LICENSE", "src", "man", "proto", "tools/gen_proto")
_UNUSED_S = 14 * 86400
# What venv and pip need of an interpreter, and its version as two numbers.
_PROBE = "import ensurepip, sqlite3, ssl, sys, venv; print(*sys.version_info[:2])"


class EnvironmentFailed(Exception):
    """The environment cannot be made; the text says what to do."""


@dataclass(frozen=True)
class Environment:
    """``python`` sees the project and its dependencies; ``tools`` sees the dependencies alone."""

    python: Path
    tools: Path
    cache: Path

    @property
    def compiled(self) -> Path:
        """Where this user's tests have what Python compiles, so that a checkout stays clean."""
        return self.cache / "compiled" / str(os.geteuid())

    def script(self, name: str) -> Path:
        """A console script of the project."""
        return self.python.parent / name


def is_root() -> bool:
    return os.geteuid() == 0


def job_uids(pid: int) -> str:
    """A range of ids for clients' own users that no other process has, as ``job_uids`` of the
    configuration has it. Beside the product's own, and below 2**31 whatever the pid."""
    first = _FIRST_UID + pid * _UIDS_A_PROCESS
    return f"{first}-{first + _UIDS_A_PROCESS - 1}"


def clean_environ() -> dict[str, str]:
    """This process's environment without what would change a Python that is started."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name not in ("VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    }


def make_environment() -> Environment:
    """Both layers, made where they are missing. Raises EnvironmentFailed."""
    os.umask(0o022)  # as root, other users run what is made here
    interpreter = _choose_interpreter()
    base = _base_directory()
    with locked(base / "lock") as lock:
        _remove_unused(base)
        dependencies = base / f"dependencies-{_dependencies_key(interpreter)}"
        if not _is_complete(dependencies):
            _make_dependencies(dependencies, interpreter, lock)
        project = base / f"project-{_project_key(dependencies)}"
        if not _is_complete(project):
            _make_project(project, dependencies, lock)
        for directory in (dependencies, project):
            os.utime(directory / _COMPLETE)
    cache = base / "cache"
    cache.mkdir(exist_ok=True)
    return Environment(project / "bin" / "python", dependencies / "bin" / "python", cache)


def make_source_environment() -> Environment:
    """As ``make_environment``, but ``python`` sees this checkout's source as it is at any moment.

    Nothing is built, so that an edit counts at once. Raises EnvironmentFailed.
    """
    os.umask(0o022)
    interpreter = _choose_interpreter()
    base = _base_directory()
    with locked(base / "lock") as lock:
        _remove_unused(base)
        dependencies = base / f"dependencies-{_dependencies_key(interpreter)}"
        if not _is_complete(dependencies):
            _make_dependencies(dependencies, interpreter, lock)
        key = hashlib.sha256(f"{dependencies.name}\0{ROOT}".encode()).hexdigest()[:16]
        source = base / f"project-source-{key}"
        if not _is_complete(source):
            _make_venv(source, dependencies, lock, [ROOT / "src"])
            mark_complete(source)
        for directory in (dependencies, source):
            os.utime(directory / _COMPLETE)
    cache = base / "cache"
    cache.mkdir(exist_ok=True)
    return Environment(source / "bin" / "python", dependencies / "bin" / "python", cache)


def make_docs_environment() -> Path:
    """The interpreter that has mkdocs. Raises EnvironmentFailed.

    An environment of its own, as its packages take twenty seconds to install.
    """
    os.umask(0o022)
    interpreter = _choose_interpreter()
    base = _base_directory()
    with locked(base / "lock") as lock:
        docs = base / f"docs-{_dependencies_key(interpreter, _DOCS)}"
        if not _is_complete(docs):
            _make_dependencies(docs, interpreter, lock, _DOCS)
        os.utime(docs / _COMPLETE)
    return docs / "bin" / "python"


def _base_directory() -> Path:
    """Root's is where every user can read; a user's own is below the home directory."""
    if is_root():
        base = Path("/var/cache/penstock")
    else:
        cache = os.environ.get("XDG_CACHE_HOME", "")
        base = (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "penstock"
    base.mkdir(mode=0o755, parents=True, exist_ok=True)
    # A directory that somebody else made could hold somebody else's code.
    if base.stat().st_uid != os.geteuid():
        raise EnvironmentFailed(f"{base} belongs to another user; remove it")
    return base


def _choose_interpreter() -> str:
    """One that is new enough and, for root, that the server's user can execute.

    A Python below a home directory of mode 0700 is not; there is no way to tell but to try.
    """
    names = [sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"]
    names += [shutil.which(name) or "" for name in ("python3", *_numbered_names())]
    tried = []
    for name in dict.fromkeys(filter(None, names)):
        mistake = _unsuitable(name)
        if mistake is None:
            return name
        tried.append(f"  {name}: {mistake}")
    raise EnvironmentFailed(
        "no suitable python3 (at least 3.11, with venv; on Debian: apt-get install python3-venv):\n"
        + "\n".join(tried)
    )


def _numbered_names() -> list[str]:
    return [f"python3.{minor}" for minor in range(OLDEST_PYTHON[1], OLDEST_PYTHON[1] + 5)]


def run_as_server_user(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Root: as the user that the server will have; anybody else: as they are. Raises OSError."""
    uid = SERVER_UID if is_root() else None
    return subprocess.run(
        command,
        cwd="/",
        user=uid,
        group=uid,
        extra_groups=[] if is_root() else None,
        capture_output=True,
        text=True,
        check=False,
    )


def _unsuitable(interpreter: str) -> str | None:
    """Why this interpreter will not do; None if it will."""
    try:
        done = run_as_server_user([interpreter, "-I", "-c", _PROBE])
    except OSError as error:
        return f"user {SERVER_UID} cannot run it: {error.strerror}" if is_root() else str(error)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return lines[-1]
    major, minor = map(int, done.stdout.split())
    return None if (major, minor) >= OLDEST_PYTHON else f"version {major}.{minor}"


def _dependencies_key(interpreter: str, requirements: str = _DEVELOPMENT) -> str:
    version = subprocess.run(
        [interpreter, "-I", "-c", "import sys; print(sys.version, sys.base_prefix)"],
        capture_output=True,
        check=True,
    ).stdout
    digest = hashlib.sha256(version)
    digest.update((ROOT / requirements).read_bytes())
    return digest.hexdigest()[:16]


def _project_key(dependencies: Path) -> str:
    digest = hashlib.sha256(dependencies.name.encode())
    for path in _wheel_files():
        data = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()[:16]


def _wheel_files() -> list[Path]:
    """Every file that goes into the wheel, or into its making."""
    files = []
    for name in _WHEEL_INPUTS:
        path = ROOT / name
        if path.is_dir():
            files += [
                file
                for file in sorted(path.rglob("*"))
                if file.is_file()
                and "__pycache__" not in file.parts
                and not any(part.endswith(".egg-info") for part in file.parts)
            ]
        elif path.exists():
            files.append(path)
    return files


def _make_dependencies(
    directory: Path, interpreter: str, lock: int, requirements: str = _DEVELOPMENT
) -> None:
    print(f"Making an environment in {directory}, once ...", file=sys.stderr, flush=True)
    shutil.rmtree(directory, ignore_errors=True)
    _run([interpreter, "-m", "venv", str(directory)], "python3 -m venv", lock)
    python = str(directory / "bin" / "python")
    _run(
        [
            *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            # Wheels alone: building from source would fetch what no hash holds.
            *("--only-binary", ":all:", "--require-hashes"),
            *("-r", str(ROOT / requirements)),
        ],
        "pip install",
        lock,
    )
    mark_complete(directory)


def _make_venv(directory: Path, dependencies: Path, lock: int, places: list[Path]) -> None:
    """A small one that sees the dependencies, and modules in ``places`` before those."""
    shutil.rmtree(directory, ignore_errors=True)
    python = str(dependencies / "bin" / "python")
    _run([python, "-m", "venv", "--without-pip", str(directory)], "python3 -m venv", lock)
    (site,) = directory.glob("lib/python3*/site-packages")
    (below,) = dependencies.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text("".join(f"{place}\n" for place in (*places, below)))


def _make_project(directory: Path, dependencies: Path, lock: int) -> None:
    python = str(dependencies / "bin" / "python")
    with tempfile.TemporaryDirectory(prefix="penstock-build-") as scratch:
        source = Path(scratch) / "source"
        for path in _wheel_files():
            target = source / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        # What is installed is generated from the contract now, whatever was committed.
        _run([python, str(source / "tools" / "gen_proto")], "tools/gen_proto", lock)
        pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _run(
            [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", scratch, str(source)],
            "building the wheel",
            lock,
        )
        (wheel,) = Path(scratch).glob("*.whl")
        _make_venv(directory, dependencies, lock, [])
        own = str(directory / "bin" / "python")
        _run(
            [*pip, "--python", own, "install", "--no-deps", "--no-index", str(wheel)],
            "installing the wheel",
            lock,
        )
    mark_complete(directory)


def _run(command: list[str], what: str, lock: int) -> None:
    """Runs a step of the making; if this program is killed, the step holds the lock to its end."""
    done = subprocess.run(
        command,
        pass_fds=[lock],
        env=clean_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        text = done.stdout.decode(errors="replace").strip()
        raise EnvironmentFailed(f"{what} failed (exit status {done.returncode}):\n{text}")


def _is_complete(directory: Path) -> bool:
    return (directory / _COMPLETE).exists()


def mark_complete(directory: Path) -> None:
    (directory / _COMPLETE).touch()


def _remove_unused(base: Path) -> None:
    """Environments that nobody has asked for in two weeks."""
    for directory in (
        directory
        for kind in ("project", "dependencies", "docs")
        for directory in base.glob(f"{kind}-*")
    ):
        marker = directory / _COMPLETE
        if marker.exists() and marker.stat().st_mtime < time.time() - _UNUSED_S:
            shutil.rmtree(directory, ignore_errors=True)
            for compiled in base.glob(f"cache/compiled/*/{directory.relative_to('/')}"):
                shutil.rmtree(compiled, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another run that makes its environment ...", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()
