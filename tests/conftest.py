"""Async tests under Trio, loud skips without root, and a leak check after every test."""

import contextlib
import gc
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
import trio
import trio.testing
from forked_program import forked_command_lines
from leaks import Children, Descriptors, become_subreaper, groups_left, job_groups, parent_groups
from patience import patient
from process_state import take_ordinary_state
from this_run import end_this_run, this_run

_DEFAULT_TIMEOUT_S = 30.0
# Virtual seconds cost nothing; a bound is needed all the same, or waiting for nothing would last.
_MOCK_CLOCK_TIMEOUT_S = 7 * 86400.0
IS_ROOT = os.geteuid() == 0
_NEEDS_ROOT = "needs root: cgroups and users of their own"


def pytest_addoption(parser: pytest.Parser) -> None:
    """What golden files are written by (tests/lib/golden.py)."""
    parser.addoption(
        "--update-golden", action="store_true", help="Write golden files instead of comparing."
    )


def pytest_configure() -> None:
    """What a test's processes inherit, and that what they leave behind becomes a child of ours."""
    if compiled := os.environ.get("PENSTOCK_TEST_COMPILED"):  # tools/test has named a directory
        # In this process alone: each worker would compile all tests and rewrite their assertions.
        sys.pycache_prefix, sys.dont_write_bytecode = compiled, False
    gc.disable()  # until all tests are imported: see pytest_collection_finish
    this_run()  # before pytest-xdist starts its workers, which are of the same run
    take_ordinary_state()
    become_subreaper()
    if hypothesis.settings.get_current_profile_name() == "default":
        # How long an example takes is the machine's doing, and what else it does at the moment.
        hypothesis.settings.register_profile(
            "penstock", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
        )
        hypothesis.settings.load_profile("penstock")


def pytest_unconfigure() -> None:
    """Here, as tools/mutants leaves its processes without their atexit."""
    end_this_run(os.getpid())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Says in a file which test runs now: tools/test shows it where a run is ended or hangs."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    path = Path(this_run().directory, "under-way", worker)
    with contextlib.suppress(FileNotFoundError):  # pytest that was called by itself has none
        path.write_text(item.nodeid)
    try:
        return (yield)
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.write_text(f"nothing, after {item.nodeid}")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs ``async def`` tests with trio.run, bounded."""
    if not inspect.iscoroutinefunction(inspect.unwrap(pyfuncitem.obj)):
        return None
    clock, seconds = None, _DEFAULT_TIMEOUT_S
    if pyfuncitem.get_closest_marker("mock_clock"):
        clock, seconds = trio.testing.MockClock(autojump_threshold=0), _MOCK_CLOCK_TIMEOUT_S
    elif pyfuncitem.get_closest_marker("held_clock"):
        clock = trio.testing.MockClock(rate=1.0)
    if marker := pyfuncitem.get_closest_marker("timeout"):
        seconds = marker.args[0]
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def bounded() -> None:
        with trio.fail_after(patient(seconds)):
            await pyfuncitem.obj(**arguments)

    trio.run(bounded, clock=clock)
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first, those with the longest bound before others, or one worker ends alone."""

    def length_s(item: pytest.Item) -> float:
        bound = item.get_closest_marker("timeout")
        long = item.get_closest_marker("slow") or item.get_closest_marker("release")
        return (bound.args[0] if bound else _DEFAULT_TIMEOUT_S) if long else 0.0

    items.sort(key=length_s, reverse=True)


def pytest_collection_finish() -> None:
    """Test modules and what they import stay: no collection of garbage looks through all of them.

    The check for leaks collects after each test that seems to have left a descriptor open.
    """
    gc.freeze()
    gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that need root are skipped without it, and the summary names them."""
    if item.get_closest_marker("root") and not IS_ROOT:
        pytest.skip(_NEEDS_ROOT)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A skip nobody sees is a test nobody has."""
    skipped = [
        report.nodeid
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and _NEEDS_ROOT in report.longrepr[2]
    ]
    if skipped:
        terminalreporter.section("NOT RUN WITHOUT ROOT", red=True)
        terminalreporter.line(f"{len(skipped)} tests, {_NEEDS_ROOT}:")
        for nodeid in skipped:
            terminalreporter.line(f"  {nodeid}")


@pytest.fixture(autouse=True)
def few_free_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the databases of this process, because to make them all takes longer than most tests.

    tests/jobs/output/test_preallocation.py has them all, as have real servers.
    """
    monkeypatch.setattr("penstock.jobs.database_reserve._ROWS", 1)


@pytest.fixture(autouse=True)
def _no_leaks(_quick_command_lines: Callable[[], str]) -> Iterator[None]:
    """Descriptors, processes, threads and cgroups return to where they were."""
    descriptors, children, groups = Descriptors(), Children(), job_groups()
    threads = {thread for thread in threading.enumerate() if not thread.daemon}
    yield
    wrong = []
    if left := children.left_behind():
        wrong.append(f"processes (ended now): {left}")
    if opened := descriptors.opened_since():
        wrong.append(f"descriptors: {opened}")
    if running := {thread for thread in threading.enumerate() if not thread.daemon} - threads:
        wrong.append(f"threads: {running}")
    if kept := groups_left(groups):
        wrong.append(f"cgroups: {kept}")
    if lost := _quick_command_lines():
        wrong.append(f"what command lines are forked from is gone: {lost}")
    assert not wrong, "left behind: " + "; ".join(wrong)


@pytest.fixture(autouse=True, scope="session")
def _quick_command_lines() -> Iterator[Callable[[], str]]:
    """Not for tools/test --all, and not for a source tree, which such a process does not find.

    Yields what says that the process they are forked from has been lost, and how.
    """
    if os.environ.get("PENSTOCK_TEST_EVERYTHING") or os.environ.get("PYTHONPATH"):
        yield str
        return
    with forked_command_lines() as lost:
        yield lost


@pytest.fixture(autouse=True, scope="session")
def _no_leaked_parents() -> Iterator[None]:
    """Servers of a whole module remove their own parent group when they end."""
    yield
    assert not parent_groups(), f"left behind: {sorted(parent_groups())}"
