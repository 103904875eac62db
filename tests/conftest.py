"""Async tests under Trio, loud skips without root, and a leak check after every test."""

import functools
import gc
import inspect
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

_DEFAULT_TIMEOUT_S = 30.0
IS_ROOT = os.geteuid() == 0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs ``async def`` tests with trio.run, bounded."""
    if not inspect.iscoroutinefunction(inspect.unwrap(pyfuncitem.obj)):
        return None
    marker = pyfuncitem.get_closest_marker("timeout")
    seconds = marker.args[0] if marker else _DEFAULT_TIMEOUT_S
    clock = (
        trio.testing.MockClock(autojump_threshold=0)
        if pyfuncitem.get_closest_marker("mock_clock")
        else None
    )
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}

    async def bounded() -> None:
        with trio.fail_after(seconds):
            await pyfuncitem.obj(**arguments)

    trio.run(functools.partial(bounded), clock=clock)
    return True


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that need root are skipped without it, and the summary names them."""
    if item.get_closest_marker("root") and not IS_ROOT:
        pytest.skip("needs root: cgroups and users of their own")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A skip nobody sees is a test nobody has."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not IS_ROOT and skipped:
        terminalreporter.section("NOT RUN: no root", red=True)
        for report in skipped:
            terminalreporter.line(report.nodeid)


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor of the listing itself
    return found


def _children() -> set[str]:
    return {
        pid
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    }


@pytest.fixture(autouse=True)
def _no_leaks() -> Iterator[None]:
    """Descriptors, children and threads return to where they were."""
    descriptors, children = _descriptors(), _children()
    threads = {thread for thread in threading.enumerate() if not thread.daemon}
    yield
    gc.collect()
    leaked = {fd: what for fd, what in _descriptors().items() if fd not in descriptors}
    assert not leaked, f"descriptors leaked: {leaked}"
    assert _children() <= children, "child processes were left behind"
    left = {thread for thread in threading.enumerate() if not thread.daemon} - threads
    assert not left, f"threads leaked: {left}"
