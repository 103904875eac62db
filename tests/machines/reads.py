"""What clients have read, against what the audit log says of it: each read, in a bounded number of
lines."""

from collections import Counter
from typing import TYPE_CHECKING, Final

import trio

from penstock.server.repeat_budget import INTERVAL_S

if TYPE_CHECKING:
    from .world import World

_READS: Final = frozenset(("status", "list"))
# With a server that is killed go the counts that it has not told yet; and a log that fails takes
# what it is given later, or never.
_LOSES_COUNTS: Final = frozenset(("crash", "away", "audit"))
_ROUNDED_S: Final = 1e-6


class Reads:
    """Of all lives of a server, by client and verb."""

    def __init__(self) -> None:
        self._answered: Counter[tuple[str, str]] = Counter()
        self._written: Counter[tuple[str, str]] = Counter()
        self._lines: dict[tuple[int, str, str, str], float] = {}
        self._too_many: list[str] = []

    def answered(self, client: str, verb: str) -> None:
        """To the client."""
        self._answered[client, verb] += 1

    def written(self, client: str, verb: str, count: int) -> None:
        """A line of the audit log: of one read, or of how many there were."""
        self._written[client, verb] += count

    def line(self, life: int, client: str, verb: str, handle: str) -> None:
        """A line of one read alone. Of what is the same there is one, and then a count."""
        if verb not in _READS:
            return
        now = trio.current_time()
        before = self._lines.get((life, client, verb, handle))
        if before is not None and now - before < INTERVAL_S - _ROUNDED_S:
            self._too_many.append(
                f"{verb} {handle} of {client} has two lines within {now - before:g} s"
            )
        self._lines[life, client, verb, handle] = now

    def check(self, world: "World") -> None:
        """At the end."""
        for what in self._too_many:
            world.fail(what)
        if any(fault.what in _LOSES_COUNTS for fault in world.program.faults):
            return
        for (client, verb), count in self._answered.items():
            written = self._written[client, verb]
            if verb in _READS and written < count:
                world.fail(f"{client} was answered {count} times by {verb}, and {written} are told")
