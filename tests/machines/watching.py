"""What a watcher must see: each change of its owner's jobs that became durable, once, in order, and
soon; or that it must list. And what the table must have: a row for each change of a record."""

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from penstock.jobs import change_table
from penstock.proto import command_pb2 as pb

if TYPE_CHECKING:
    from .invariants import Invariants
    from .world import World

# As of output: from the record to the watcher, beside three times the network's latency.
_SOON_S: Final = 0.5
_STATES: Final = {
    "running": pb.JOB_STATE_RUNNING,
    "paused": pb.JOB_STATE_RUNNING,
    "resumed": pb.JOB_STATE_RUNNING,
    "stopping": pb.JOB_STATE_STOPPING,
    "finished": pb.JOB_STATE_FINISHED,
    "removed": pb.JOB_STATE_FINISHED,
}


@dataclass(frozen=True, slots=True)
class Row:
    """One change, and when it was durable."""

    sequence: int
    owner: str
    job_id: str
    handle: str
    what: str
    at: float


class Changes:
    """All rows that were ever durable, pruned ones too, in order."""

    def __init__(self, world: "World") -> None:
        self.rows: list[Row] = []
        self.numbers: dict[str, list[int]] = {}
        """By owner, those that its watchers have had, to resume from."""
        self._world = world

    def durable(self, rows: list[tuple[int, str, str, str, str]]) -> None:
        """A transaction has been committed."""
        for row in rows:
            if self.rows and row[0] <= self.rows[-1].sequence:
                self._world.fail(f"change {row[0]} is not behind {self.rows[-1].sequence}")
            self.rows.append(Row(*row, trio.current_time()))

    def check(self, path: str) -> None:
        """At the end, with the records themselves: neither is there without the other."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            found.setdefault(row.job_id, []).append(row.what)
        with contextlib.closing(sqlite3.connect(path)) as db:
            jobs = db.execute("SELECT id, handle, stop, end FROM jobs").fetchall()
        there = set()
        for job_id, handle, stop, end in jobs:
            there.add(job_id)
            whats = found.get(job_id, [])
            expected = {
                "running": handle is not None,
                "stopping": stop is not None,
                "finished": end is not None,
                "removed": False,
            }
            for what, is_so in expected.items():
                if whats.count(what) != is_so:
                    self._world.fail(
                        f"job {job_id[-4:]} has {whats.count(what)} changes {what!r}, and its "
                        f"record says {is_so}"
                    )
        for job_id, whats in found.items():
            if (whats[-1] == "removed") == (job_id in there):
                self._world.fail(f"job {job_id[-4:]} is removed without its change, or the reverse")


class Watching:
    """One watch, over any number of connections. ``slow_s``: what it takes for each message.
    ``after``: where it resumes; None is now."""

    def __init__(
        self, check: "Invariants", owner: str, *, slow_s: float, after: int | None
    ) -> None:
        self.connected_at = trio.current_time()
        self._world = check.world
        self._check = check
        self._changes = check.changes
        self._owner = owner
        self._slow_s = slow_s
        self._after = after
        self._at: int | None = None
        self._told_at = -float("inf")

    def take(self, message: pb.WatchResponse, disturbed_at: float) -> None:
        """The next one. ``disturbed_at``: until when something has kept messages from it."""
        now = trio.current_time()
        if message.HasField("job"):
            self._check.job_told(self._owner, message.job)
        if not message.handle:
            self._begins(message)
        else:
            self._changed(message, disturbed_at, now)
        self._at = message.sequence
        self._changes.numbers.setdefault(self._owner, []).append(message.sequence)
        self._told_at = now

    def _begins(self, message: pb.WatchResponse) -> None:
        world, known = self._world, self._changes.numbers.get(self._owner, [])
        if message.resync:
            world.covered.add("C64")
            mine = self._at is not None or self._after in known
            if mine and not world.few_changes:
                world.fail(f"a watcher of {self._owner} is told to list without a reason")
        elif self._at is not None or (self._after is not None and self._after != message.sequence):
            world.fail(f"a watcher of {self._owner} begins at {message.sequence}, unasked")
        elif self._after is not None and self._after not in known and not self._is_the_begin():
            world.fail(f"{self._owner} resumes behind {self._after}, which is no number of its own")

    def _is_the_begin(self) -> bool:
        """Of the table, which all have that had no change of their own."""
        return all(each.sequence > (self._after or 0) for each in self._changes.rows)

    def _changed(self, message: pb.WatchResponse, disturbed_at: float, now: float) -> None:
        world, handle = self._world, message.handle
        if self._at is None:
            world.fail(f"a watcher of {self._owner} was told of {handle} before it has begun")
            return
        row = next((each for each in self._missing(self._at)), None)
        told = (message.sequence, handle, message.state, message.removed)
        if row is None or told != (
            *(row.sequence, row.handle, _STATES[row.what]),
            row.what == "removed",
        ):
            world.fail(f"a watcher of {self._owner} behind {self._at} sees {told}, and not {row}")
            return
        paused = message.paused if message.HasField("paused") else None
        if paused is not {"paused": True, "resumed": False}.get(row.what):
            world.fail(f"a watcher of {self._owner} sees paused={paused} of {row}")
        if row.what == "finished" and message.HasField("job") and not message.job.HasField("end"):
            world.fail(f"a watcher is told that job {handle} has finished, without its end record")
        could = max(row.at, self._told_at + self._slow_s, self.connected_at, disturbed_at)
        if now > could + 3 * world.program.latency + _SOON_S:
            world.fail(f"change {row} reaches a watcher {now - could:g} s late")

    def ends(self, disturbed_at: float) -> None:
        """It leaves: what has become durable long ago it has seen, if its connection stands."""
        if max(disturbed_at, self._world.network.fell_silent_at) >= self.connected_at:
            return
        since = max(self.connected_at, self._told_at + self._slow_s)
        until = trio.current_time() - 3 * self._world.program.latency - _SOON_S
        if self._at is None or since > until:
            return
        for row in self._missing(self._at):
            if row.at < until:
                self._world.fail(f"a watcher of {self._owner} was never told of {row}")
                return

    def _missing(self, at: int) -> list[Row]:
        rows = self._changes.rows
        return [each for each in rows if each.owner == self._owner and each.sequence > at]


def simulated_bounds() -> dict[str, int]:
    """Of a world in which changes are pruned and watchers fall behind soon."""
    assert change_table.MOST_CHANGES > change_table.MOST_BEHIND
    return {"MOST_CHANGES": 6, "MOST_BEHIND": 4, "_PRUNED_AT_ONCE": 2, "_PRUNED_EVERY": 1}
