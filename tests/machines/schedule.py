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

Kind = Literal["fifo", "shuffle", "hold", "lag"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """``fifo`` runs whoever is ready by age, ``shuffle`` in any order. ``hold`` draws a priority
    for each task and lets the low ones wait, up to ``ticks`` ticks in a row, while others run;
    a task in ``one_in`` is low. ``lag`` lets any task wait so now and then, at any of its steps."""

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
        self._lagging: dict[Any, int] = {}
        """Ticks for which a task that is ready may still be held."""

    def shuffle(self, batch: Any) -> None:
        """Of a list that Trio pops from the end."""
        kind = self._schedule.kind
        if kind == "fifo":
            batch.reverse()
        else:
            super().shuffle(batch)
            if kind != "shuffle" and len(batch) > 1:
                self._hold_back(batch)
        self.ticks += 1
        self.steps += len(batch)
        for task in batch:
            self.trace = zlib.crc32(task.name.encode(), self.trace)

    def _hold_back(self, batch: list[Any]) -> None:
        lagging = self._lagging
        held = [task for task in batch if self._holds(task)]
        if len(held) == len(batch):  # nobody else is there to be behind
            return
        for task in held:
            batch.remove(task)
            lagging[task] -= 1
            _run.GLOBAL_RUN_CONTEXT.runner.runq.append(task)
        for task in batch:
            lagging.pop(task, None)

    def _holds(self, task: Any) -> bool:
        schedule = self._schedule
        if task not in self._lagging:
            if schedule.kind == "lag":
                if self.randrange(4 * schedule.one_in):
                    return False
                self._lagging[task] = self.randint(1, schedule.ticks)
            else:
                if task not in self._low:
                    self._low[task] = self.randrange(schedule.one_in) == 0
                    if self.randrange(16) == 0:  # somebody else is slow from now on
                        self._low.clear()
                        return False
                if not self._low[task]:
                    return False
                self._lagging[task] = schedule.ticks
        return self._lagging[task] > 0


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
    return _names([runner.main_task])


def system_tasks_alive() -> list[str]:
    """The same of tasks that nobody but Trio itself waits for, and of those below them."""
    runner = _run.GLOBAL_RUN_CONTEXT.runner
    assert runner.system_nursery is not None
    tasks = sorted(runner.system_nursery.child_tasks, key=_age)
    return [task.name for task in tasks] + _names(tasks)


def _names(todo: list[Any]) -> list[str]:
    """Of all below these, by age."""
    found: list[Any] = []
    while todo:
        for nursery in todo.pop().child_nurseries:
            found += nursery.child_tasks
            todo += nursery.child_tasks
    return [task.name for task in sorted(found, key=_age)]


def _age(task: Any) -> int:
    age: int = task._counter
    return age
