"""Which ids this process's user namespace has: user_namespaces(7).

A container's root can become only users that its namespace maps; setresuid(2) to any other fails
with EINVAL. Outside of containers all ids are there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_MAPS: Final = ("/proc/self/uid_map", "/proc/self/gid_map")


Map = tuple[tuple[int, int], ...]
"""First ids inside, and how many follow each."""


@dataclass(frozen=True, slots=True)
class IdMaps:
    """What is there as a user and as a group."""

    users: Map
    groups: Map

    def within(self, ids: range) -> Iterator[range]:
        """Those of ``ids`` that are both: a process can be this user, with a group of that
        number."""
        for first, count in self.users:
            for first_group, count_group in self.groups:
                start = max(first, first_group, ids.start)
                stop = min(first + count, first_group + count_group, ids.stop)
                if start < stop:
                    yield range(start, stop)

    def has(self, number: int) -> bool:
        """Is this one both?"""
        return any(True for _ in self.within(range(number, number + 1)))


def parse_map(text: str) -> Map:
    """A file of /proc (pure): each line is first id inside, first outside, count."""
    lines = [line.split() for line in text.splitlines()]
    return tuple((int(inside), int(count)) for inside, _, count in lines)


def own_maps() -> IdMaps:
    """The maps of this process, which never change once they are written. Raises OSError."""
    found = []
    for path in _MAPS:
        with open(path, encoding="ascii") as file:
            found.append(parse_map(file.read()))
    return IdMaps(*found)
