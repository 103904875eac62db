"""In which order tasks run: first come first served, shuffled, or some held back.

The only module that knows Trio's private names. Trio asks ``_run._r`` to shuffle each batch of
tasks that can run; before it has sorted them by age, as sets of tasks have an order of their own
in each process. What stays in the run queue waits for the next tick.
"""

import contextlib
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import trio._core._run as _run

Kind = Literal["fifo", "shuffle", "hold"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """``fifo`` runs whoever is ready by age, ``shuffle`` in any order. ``hold`` draws a priority
    for each task and lets the low ones wait, up to ``ticks`` ticks in a row, while others run;
    a task in ``one_in`` is low."""

    kind: Kind = "fifo"
    seed: int = 0
    one_in: int = 3
    ticks: int = 8


class Order(random.Random):
    """What Trio draws from. ``trace`` is a checksum of who ran when; it must never raise."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule.seed)
        self.ticks = 0
        self.steps = 0
        self.trace = 0
        self._schedule = schedule
        self._low: dict[Any, bool] = {}
        self._held: dict[Any, int] = {}

    def shuffle(self, batch: Any) -> None:
        """Of a list that Trio pops from the end."""
        kind = self._schedule.kind
        if kind == "fifo":
            batch.reverse()
        else:
            super().shuffle(batch)
            if kind == "hold" and len(batch) > 1:
                self._hold_back(batch)
        self.ticks += 1
        self.steps += len(batch)
        for task in batch:
            self.trace = zlib.crc32(task.name.encode(), self.trace)

    def _hold_back(self, batch: list[Any]) -> None:
        schedule = self._schedule
        held = []
        for task in batch:
            if task not in self._low:
                self._low[task] = self.randrange(schedule.one_in) == 0
            if self._low[task] and self._held.get(task, 0) < schedule.ticks:
                held.append(task)
        if len(held) == len(batch):
            return
        for task in batch:
            self._held.pop(task, None) if task not in held else None
        for task in held:
            batch.remove(task)
            self._held[task] = self._held.get(task, 0) + 1
            _run.GLOBAL_RUN_CONTEXT.runner.runq.append(task)
        if self.randrange(16) == 0:  # somebody else is slow from now on
            self._low.clear()


@contextlib.contextmanager
def scheduled(schedule: Schedule) -> Iterator[Order]:
    """What runs inside, by trio.run, runs in this order, the same each time."""
    order = Order(schedule)
    before = _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING
    _run._r = order
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # as Hypothesis does
    try:
        yield order
    finally:
        _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING = before  # type: ignore[misc]


def tasks_alive() -> list[str]:
    """Names of the tasks below the main one, by age; from inside of a run."""
    runner = _run.GLOBAL_RUN_CONTEXT.runner
    assert runner.main_task is not None
    found: list[Any] = []
    todo = [runner.main_task]
    while todo:
        for nursery in todo.pop().child_nurseries:
            found += nursery.child_tasks
            todo += nursery.child_tasks
    return [task.name for task in sorted(found, key=_age)]


def _age(task: Any) -> int:
    age: int = task._counter
    return age
