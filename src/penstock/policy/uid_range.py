"""The range of ids that clients' users are taken from (pure)."""

import re
from dataclasses import dataclass
from typing import Final

_RANGE: Final = re.compile(r"(\d{1,10})-(\d{1,10})", re.ASCII)
_LAST: Final = 2**32 - 2  # 2**32 - 1 is "no id" to the kernel (setresuid(2))
# linux/highuid.h: what stands for an id that a user namespace lacks; and 16 bits' "no id".
_TAKEN: Final = (65534, 65535)


@dataclass(frozen=True, slots=True)
class UidRange:
    """Ids from ``first`` to ``last``, both included; as users and as groups."""

    first: int
    last: int

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.first <= number <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def ids(self) -> range:
        """All of them, in order."""
        return range(self.first, self.last + 1)


DEFAULT_JOB_UIDS: Final = UidRange(1_879_200_000, 1_879_265_535)
"""65,536 ids, below 2^31, that neither systemd's table (UIDS-GIDS.md) nor Debian's (Policy 9.2.2)
assigns: they lie above what containers get (524,288 to 1,879,048,191)."""


def parse_uid_range(text: str) -> UidRange:
    """``first-last`` in decimal. Raises ValueError, whose text says what is wrong."""
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is no range of ids")
    found = UidRange(int(match[1]), int(match[2]))
    if found.first > found.last:
        raise ValueError(f"{text!r} ends before it begins")
    if found.first == 0:
        raise ValueError(f"{text!r} has root in it")
    if found.last > _LAST:
        raise ValueError(f"{text!r} goes beyond {_LAST}, the last id that there is")
    for number in _TAKEN:
        if number in found:
            raise ValueError(f"{text!r} has {number} in it, which the kernel keeps for itself")
    return found


@dataclass(frozen=True, slots=True)
class JobIds:
    """Users, or groups, that jobs may have: those that commands name, and all that clients may get.

    Checks of files ask it whether an owner could be a job, which must not own what is checked.
    """

    named: frozenset[int]
    allocated: UidRange

    def __contains__(self, number: object) -> bool:
        return number in self.named or number in self.allocated

    def without(self, *numbers: int) -> "JobIds":
        """All but these named ones."""
        return JobIds(self.named - set(numbers), self.allocated)
