"""Connections between connect and the end of TLS's handshake, and which one gives way (pure).

Any peer can connect, at any rate, without a certificate. So their number has a bound. When it is
reached, one of them is ended, in an order that costs honest clients least:

- one of the source that holds more than half of all, if there is one, because such a source then
  shuts out only itself;
- one that has not sent a whole message, because an honest client does so at once;
- then one that was answered, and has been silent for longer than a far client needs;
- then one that waits for this server's answer: the oldest, because the newest are answered first;
- then one that was answered a moment ago.

In a group where the server waits for the peer (silent, or answered), the one that has kept it
waiting longest is ended, if that is longer than a far client needs. So no honest client is lost
while a flood is so slow that each connection gets that much time. Otherwise one is chosen at
random, because if it were always the oldest, a peer that connects fast enough could make sure that
no connection is given a round trip, so that no far client gets in.
"""

from collections.abc import Callable
from enum import IntEnum
from ipaddress import IPv6Address
from random import Random
from typing import Final, Generic, TypeVar

EntryT = TypeVar("EntryT")

_SITE_BYTES: Final = 8  # because an IPv6 client has a whole /64 (RFC 4291 2.5.4)


class Stage(IntEnum):
    """How far a handshake has come; the lower the stage, the sooner it gives way."""

    SILENT = 0
    """Less than a whole record has arrived. It counts as silence, so that one byte buys nothing."""
    SPOKEN = 1
    """The peer has sent a whole record, and waits for this server's answer."""
    ANSWERED = 2
    """The server's certificate is on its way; the server waits for the peer's."""


def source_of(host: str) -> bytes:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 one.

    ``host`` is numeric, as accept() gives it; a zone may follow it.
    """
    if ":" not in host:
        return host.encode()
    address = IPv6Address(host)
    if address.ipv4_mapped is not None:  # how an IPv6 socket reports an IPv4 client
        return str(address.ipv4_mapped).encode()
    return address.packed[:_SITE_BYTES]


class _Bag(Generic[EntryT]):
    """A set whose entries can be picked at random or by age, in constant time."""

    def __init__(self) -> None:
        self.all: list[EntryT] = []
        self._at: dict[EntryT, int] = {}
        """Where in ``all``; in the order in which they came."""

    @property
    def oldest(self) -> EntryT:
        return next(iter(self._at))

    def add(self, entry: EntryT) -> None:
        self._at[entry] = len(self.all)
        self.all.append(entry)

    def remove(self, entry: EntryT) -> None:
        at = self._at.pop(entry)
        last = self.all.pop()
        if at < len(self.all):
            self.all[at] = last
            self._at[last] = at


class _Stages(Generic[EntryT]):
    """The entries of one source, or of all, by their stage."""

    def __init__(self) -> None:
        self._bags: tuple[_Bag[EntryT], ...] = tuple(_Bag() for _ in Stage)
        self.size = 0

    def add(self, entry: EntryT, stage: Stage) -> None:
        self._bags[stage].add(entry)
        self.size += 1

    def remove(self, entry: EntryT, stage: Stage) -> None:
        self._bags[stage].remove(entry)
        self.size -= 1

    def count(self, least: Stage) -> int:
        return sum(len(bag.all) for bag in self._bags[least:])

    def of(self, stage: Stage) -> _Bag[EntryT]:
        return self._bags[stage]


class PendingHandshakes(Generic[EntryT]):
    """Entries, which must be hashable, by source and stage.

    ``clock`` gives monotonic seconds. An entry that has been at one stage for ``grace_s`` gives way
    before one that has not. ``on_empty`` is called each time that the last entry is removed; the
    caller may add another right after.
    """

    def __init__(
        self,
        random: Random,
        clock: Callable[[], float],
        grace_s: float,
        on_empty: Callable[[], object] = lambda: None,
    ) -> None:
        self._random = random
        self._clock = clock
        self._grace_s = grace_s
        self._on_empty = on_empty
        self._where: dict[EntryT, tuple[bytes, Stage, float]] = {}
        self._everybody: _Stages[EntryT] = _Stages()
        self._by_source: dict[bytes, _Stages[EntryT]] = {}
        self._largest: _Stages[EntryT] = _Stages()
        """The largest source when it was last added to. If one holds more than half, this is it:
        it was the largest when it came to that, and no other can be larger since."""

    def __len__(self) -> int:
        return len(self._where)

    def __contains__(self, entry: EntryT) -> bool:
        return entry in self._where

    def count(self, least: Stage) -> int:
        """How many entries have reached stage ``least``."""
        return self._everybody.count(least)

    def all(self) -> list[EntryT]:
        """Every entry, in the order of ``add``."""
        return list(self._where)

    def add(self, entry: EntryT, source: bytes, stage: Stage = Stage.SILENT) -> None:
        """Enters a new connection of this source, at this stage."""
        self._where[entry] = source, stage, self._clock()
        self._everybody.add(entry, stage)
        of_source = self._by_source.get(source)
        if of_source is None:
            of_source = self._by_source[source] = _Stages()
        of_source.add(entry, stage)
        if of_source.size > self._largest.size:
            self._largest = of_source

    def move(self, entry: EntryT, stage: Stage) -> None:
        """Moves an entry to a later stage. Does nothing if it has given way meanwhile."""
        found = self._where.get(entry)
        if found is None:
            return
        source, before, _ = found
        self._where[entry] = source, stage, self._clock()
        for stages in (self._everybody, self._by_source[source]):
            stages.remove(entry, before)
            stages.add(entry, stage)

    def remove(self, entry: EntryT) -> None:
        """Removes an entry that is done, refused or gone. Does nothing if it gave way before."""
        found = self._where.pop(entry, None)
        if found is None:
            return
        source, stage, _ = found
        self._everybody.remove(entry, stage)
        of_source = self._by_source[source]
        of_source.remove(entry, stage)
        if not of_source.size:
            del self._by_source[source]
        if not self._where:
            self._on_empty()

    def take_who_gives_way(
        self, source: bytes, most: int, least: Stage = Stage.SILENT
    ) -> EntryT | None:
        """Removes and returns the entry that makes room for one of ``source`` among ``most``.

        None: there is no entry to remove.

        ``least``: the lowest stage that counts against ``most``.
        """
        half = most // 2
        crowd = self._by_source.get(source)
        if crowd is None or crowd.size < half:
            crowd = self._largest if self._largest.size > half else None
        chosen = None if crowd is None else self._choose(crowd, least)
        if chosen is None:
            chosen = self._choose(self._everybody, least)
        if chosen is not None:
            self.remove(chosen)
        return chosen

    def _choose(self, stages: _Stages[EntryT], least: Stage) -> EntryT | None:
        silent, spoken, answered = (stages.of(stage) for stage in Stage)
        if least is Stage.SILENT and silent.all:
            late = self._late(silent)
            return self._random.choice(silent.all) if late is None else late
        # A peer that keeps the server waiting gives way first, because one that waits for the
        # server has done its part.
        if (late := self._late(answered)) is not None:
            return late
        if spoken.all:
            return spoken.oldest  # because WaitingRoom begins with the newest
        return self._random.choice(answered.all) if answered.all else None

    def _late(self, bag: _Bag[EntryT]) -> EntryT | None:
        """The entry that has kept the server waiting longest, if longer than ``grace_s``."""
        if not bag.all:
            return None
        oldest = bag.oldest
        return oldest if self._clock() - self._where[oldest][2] >= self._grace_s else None
