"""Runs tests against mutants, each in a process of its own that is forked with pytest loaded."""

import contextlib
import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest
from _env import ROOT
from _mutation import Mutant

# Loading them takes as long as many a test; what is mutated must not be loaded before the fork.
_PRELOADED = ("trio", "trio.testing", "hypothesis.strategies", "sqlite3", "_pytest.assertion")
_COPIED = ("src", "tests", "pyproject.toml")
# A mutant that allocates without end ends itself, not the machine.
_MEMORY_BYTES = 4 << 30
_OPTIONS = ("-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "--assert=plain")


class Outcome(Enum):
    """What became of a mutant; a time-out is a kill, since the tests would have hung."""

    KILLED = auto()
    TIMEOUT = auto()
    SURVIVED = auto()


class BaselineFailed(Exception):
    """The tests do not pass without any mutant; the text is what they print."""


@dataclass
class _Run:
    tree: Path
    mutant: Mutant | None
    pid: int
    deadline: float


class Runs:
    """Copies of the checkout below ``scratch``, one for each worker, and the runs in them."""

    def __init__(self, scratch: Path, file: str, tests: Iterable[str], workers: int) -> None:
        """``file`` is mutated, below the root; ``tests`` are paths, the fast ones first."""
        self._file = file
        self._tests = list(tests)
        self._source = (ROOT / file).read_text()
        self._durations: dict[str, float] = {}
        self._timeout_s = 600.0
        self._trees = [scratch / str(number) for number in range(workers)]
        for tree in self._trees:
            _copy(tree)
        for name in _PRELOADED:
            importlib.import_module(name)
        gc.freeze()

    def check_baseline(self) -> float:
        """Seconds that the tests take without a mutant. Raises BaselineFailed.

        They must pass in every copy, and in the order in which they meet the mutants: a test that
        failed for its place in the row would kill them all. The bound of every other run comes
        from these, and compiled files are left for them.
        """
        took = 0.0
        for tree in (self._trees[0], *self._trees):
            run = self._start(tree, None)
            began = time.monotonic()
            outcome = self._outcome(run, _wait_any([run], run.deadline))
            took = max(took, time.monotonic() - began)
            if outcome is not Outcome.SURVIVED:
                raise BaselineFailed(_output(tree).read_text())
            path = tree / self._file
            for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
                compiled.unlink()
            self._durations = json.loads(_durations(tree).read_text())
        self._timeout_s = 3 * took + 15
        return took

    def run(self, mutants: Iterable[Mutant]) -> Iterator[tuple[Mutant, Outcome]]:
        """The outcome of each, in the order in which they end."""
        waiting = iter(mutants)
        idle = list(self._trees)
        running: list[_Run] = []
        try:
            while True:
                while idle and (mutant := next(waiting, None)) is not None:
                    running.append(self._start(idle.pop(), mutant))
                if not running:
                    return
                status = _wait_any(running, min(run.deadline for run in running))
                now = time.monotonic()
                for run in [run for run in running if run.pid in status or run.deadline <= now]:
                    running.remove(run)
                    outcome = self._outcome(run, status)
                    idle.append(run.tree)
                    assert run.mutant is not None
                    yield run.mutant, outcome
        finally:
            for run in running:
                _kill(run)

    def _start(self, tree: Path, mutant: Mutant | None) -> _Run:
        (tree / self._file).write_text(self._source if mutant is None else mutant.code)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _test(tree, self._tests, self._durations, baseline=mutant is None)
        with contextlib.suppress(OSError):  # whoever comes first; it may have ended
            os.setpgid(pid, pid)
        return _Run(tree, mutant, pid, time.monotonic() + self._timeout_s)

    def _outcome(self, run: _Run, statuses: dict[int, int]) -> Outcome:
        status = statuses.get(run.pid)
        if status is None:
            _kill(run)
            return Outcome.TIMEOUT
        with contextlib.suppress(ProcessLookupError):  # what its tests have left
            os.killpg(run.pid, signal.SIGKILL)
        return Outcome.KILLED if status else Outcome.SURVIVED


class _FastFirst:
    """A plugin of pytest's: a mutant that any test kills is best killed by a fast one."""

    def __init__(self, durations: dict[str, float]) -> None:
        """Seconds by test, from a run before; empty: none are known yet."""
        self._known = durations
        self.durations: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._known.get(item.nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        before = self.durations.get(report.nodeid, 0.0)
        self.durations[report.nodeid] = before + report.duration


def _copy(tree: Path) -> None:
    for name in _COPIED:
        path = ROOT / name
        if path.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(path, tree / name, ignore=ignored)
        else:
            shutil.copy(path, tree / name)


def _output(tree: Path) -> Path:
    return tree.with_suffix(".out")


def _durations(tree: Path) -> Path:
    return tree.with_suffix(".json")


def _test(tree: Path, tests: list[str], durations: dict[str, float], *, baseline: bool) -> NoReturn:
    """The child: runs the tests and exits as pytest does; 1 at the first that fails."""
    status = 70
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        output = os.open(_output(tree), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(tree)
        sys.path.insert(0, str(tree / "src"))
        os.environ["PYTHONPATH"] = str(tree / "src")
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(tree / ".hypothesis")
        sys.dont_write_bytecode = not baseline
        _set_profile()
        temporary = f"--basetemp={tree / 'temporary'}"
        order = _FastFirst(durations)
        status = int(pytest.main([*_OPTIONS, f"--rootdir={tree}", temporary, *tests], [order]))
        if baseline:
            _durations(tree).write_text(json.dumps(order.durations))
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # also for SystemExit and ^C: nothing of the parent's runs here


def _set_profile() -> None:
    """The same examples for every mutant, and the first that fails is enough.

    No test fails for being slow: that would be the machine's doing, and be taken for a kill.
    """
    hypothesis.settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("mutants")


def _wait_any(running: list[_Run], deadline: float) -> dict[int, int]:
    """Exit statuses of those that have ended: at least one, unless the deadline comes first."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        while True:
            ended = {}
            for run in running:
                pid, status = os.waitpid(run.pid, os.WNOHANG)
                if pid:
                    ended[pid] = status
            left = deadline - time.monotonic()
            if ended or left <= 0:
                return ended
            signal.sigtimedwait({signal.SIGCHLD}, left)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _kill(run: _Run) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(run.pid, 0)
