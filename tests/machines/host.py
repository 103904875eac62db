"""What a process has from its host, of one simulation: ids, the time, threads, where it logs."""

import contextlib
import itertools
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import trio

import penstock.jobs.change_table as changes_module
import penstock.jobs.manager as manager_module
import penstock.jobs.reporting as telling_module
import penstock.jobs.salvage as salvage_module
import penstock.rpc.endpoint as link_module
import penstock.rpc.turns as turns_module
import penstock.server.preparation as preparation_module
import penstock.server.switching as switching_module
from penstock.server.lockout import TrialResult

from .process import SimStore
from .switches import no_credentials
from .watching import simulated_bounds
from .world import World

_EPOCH_NS: Final = 1_700_000_000 * 10**9
_MEMORY: Final = "/dev/shm" if os.path.isdir("/dev/shm") else None


class _Lines:
    """Stands for reporting.py's writer of lines on standard error."""

    def __init__(self, world: World) -> None:
        self._world = world

    def write(self, text: str) -> None:
        self._world.said(text)

    def tell_lost(self) -> bool:
        return True


class _Bugs(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        # A log that takes no line, as a fault; and a reload that its server did not answer in time.
        said = record.getMessage()
        if "is not recorded" in said or said.startswith("not reloaded, everything stays"):
            return
        if self._world.process.alive:
            self._world.fail(
                f"logged: {record.getMessage()} {record.exc_info and record.exc_info[1]!r}"
            )


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextlib.contextmanager
def simulated(world: World) -> Iterator[None]:
    """What a process has from its host, of this world."""
    ids = itertools.count(1)

    def token_hex(count: int | None = None) -> str:
        return f"{next(ids):0{2 * (count or 16)}x}"

    def time_ns() -> int:
        return _EPOCH_NS + int(trio.current_time() * 1e9)

    async def inline(function: Callable[..., Any], *args: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return function(*args)

    logger = logging.getLogger("penstock")
    handler = _Bugs(world)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    bounds = simulated_bounds() if world.few_changes else {}
    with (
        contextlib.ExitStack() as bounded,
        _replaced(secrets, "token_hex", token_hex),
        _replaced(time, "time_ns", time_ns),
        _replaced(changes_module, "monotonic_ns", time_ns),
        # No work takes time there: how much is done in a turn is the same in each run.
        _replaced(link_module, "perf_counter", trio.current_time),
        _replaced(turns_module, "perf_counter", trio.current_time),
        _replaced(trio.to_thread, "run_sync", inline),
        _replaced(manager_module, "lock_directory", contextlib.nullcontext),
        _replaced(salvage_module, "Store", SimStore),
        _replaced(telling_module, "LINES", _Lines(world)),
        _replaced(preparation_module, "load_credentials", no_credentials),
        _replaced(preparation_module, "try_files", lambda *_: TrialResult(0)),
        _replaced(switching_module, "keeping", lambda policy: world.keeping()),
    ):
        for name, value in bounds.items():
            bounded.enter_context(_replaced(changes_module, name, value))
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagate


def new_state_dir() -> tempfile.TemporaryDirectory[str]:
    """In memory if there is such a place: SQLite is real, its disk is not what is looked at."""
    return tempfile.TemporaryDirectory(prefix="penstock-sim-", dir=_MEMORY)
