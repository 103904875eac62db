"""Who is between connect and the end of a TLS handshake, and who of them gives way (pure).

Anybody can connect, at any rate, without a certificate. So there is a bound, and when it is
reached somebody must go, in an order that costs who means it least:

- of a source that holds more than half, if there is one: it shuts out nobody but itself;
- who has not sent a whole message: a client that means it does so at once;
- then who was answered, and has not said a word for longer than a client far away takes;
- then who waits for an answer: it is in our hands, and the newest has the best chance of one;
- then who was answered a moment ago.
Of who lets us wait (the first and the last of these) the one that has for longest, if that is
longer than a client far away takes: while a flood is so slow that everybody has that long, no
client is lost. Else one at random: if it were the oldest, who connects fast enough would make sure
that nobody is given a round trip, and so that nobody far away gets in.
"""

from collections.abc import Callable
from enum import IntEnum
from ipaddress import IPv6Address
from random import Random
from typing import Final, Generic, TypeVar

EntryT = TypeVar("EntryT")

_SITE_BYTES: Final = 8  # an IPv6 client has a whole /64 (RFC 4291 2.5.4)


class Stage(IntEnum):
    """How far a handshake is: the less, the sooner it gives way."""

    SILENT = 0
    """Nothing has arrived, or not a whole record: a byte must buy nothing."""
    SPOKEN = 1
    """TLS has something to answer, when it is its turn."""
    ANSWERED = 2
    """Our certificate is on its way; the peer's is awaited."""


def source_of(host: str) -> bytes:
    """What counts as one source: an IPv4 address, or the /64 of an IPv6 one.

    ``host`` is numeric, as accept() gives it; a zone may follow it.
    """
    if ":" not in host:
        return host.encode()
    address = IPv6Address(host)
    if address.ipv4_mapped is not None:  # as a socket of IPv6 tells of an IPv4 client
        return str(address.ipv4_mapped).encode()
    return address.packed[:_SITE_BYTES]


class _Bag(Generic[EntryT]):
    """A set that can be chosen from at random, or by age, in constant time."""

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
    """Entries by how far they are."""

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

    ``clock`` gives monotonic seconds; who has been at one stage for ``grace_s`` gives way before
    who has not. ``on_empty`` is called each time that the last one goes; another may follow at
    once.
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
        """How many are so far or farther."""
        return self._everybody.count(least)

    def all(self) -> list[EntryT]:
        """In the order in which they came."""
        return list(self._where)

    def add(self, entry: EntryT, source: bytes, stage: Stage = Stage.SILENT) -> None:
        """One more that has connected, from this source, and has come so far."""
        self._where[entry] = source, stage, self._clock()
        self._everybody.add(entry, stage)
        of_source = self._by_source.get(source)
        if of_source is None:
            of_source = self._by_source[source] = _Stages()
        of_source.add(entry, stage)
        if of_source.size > self._largest.size:
            self._largest = of_source

    def move(self, entry: EntryT, stage: Stage) -> None:
        """It has come further. Nothing for who has given way meanwhile."""
        found = self._where.get(entry)
        if found is None:
            return
        source, before, _ = found
        self._where[entry] = source, stage, self._clock()
        for stages in (self._everybody, self._by_source[source]):
            stages.remove(entry, before)
            stages.add(entry, stage)

    def remove(self, entry: EntryT) -> None:
        """It is done, refused or gone; nothing if it has given way already."""
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
        """Removes one so that one of ``source`` finds room among ``most``; None: there is nobody.

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
        # Who waits for us has done what it could; who lets us wait has not.
        if (late := self._late(answered)) is not None:
            return late
        if spoken.all:
            return spoken.oldest  # the newest is begun with: see WaitingRoom
        return self._random.choice(answered.all) if answered.all else None

    def _late(self, bag: _Bag[EntryT]) -> EntryT | None:
        """The one that we have waited for for longest, if it has had its time."""
        if not bag.all:
            return None
        oldest = bag.oldest
        return oldest if self._clock() - self._where[oldest][2] >= self._grace_s else None
