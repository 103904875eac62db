"""How the limits of a class, or of a client, differ from what they were, in words (pure)."""

from collections.abc import Iterator
from typing import Final

from .limit_classes import LIMIT_NAMES, LimitClass, ResourceLimits

_COUNTED: Final = frozenset({"processes", "files"})
_RATES: Final = frozenset({"disk", "disk_read", "disk_write", "output"})
_UNITS: Final = (
    *(("GB", 10**9), ("GiB", 2**30), ("MB", 10**6), ("MiB", 2**20)),
    *(("kB", 10**3), ("KiB", 2**10), ("B", 1)),
)


def limit_changes(before: LimitClass, now: LimitClass, prefix: str = "") -> list[str]:
    """``memory 1GB instead of 100MB`` for each limit, and the other keys by their names.

    ``prefix`` stands before each key.
    """
    old, new = _asked(before.limits), _asked(now.limits)
    both = (before.limits, now.limits)
    names: list[str] = list(LIMIT_NAMES)
    # What was left out says nothing: output is the disk's then.
    if all(each.output_bytes_per_s == each.disk_write_bytes_per_s for each in both):
        names.remove("output")
    if all(each.disk_read_bytes_per_s == each.disk_write_bytes_per_s for each in both):
        names = ["disk" if name == "disk_read" else name for name in names if name != "disk_write"]
    found = [
        f"{prefix}{name} {_text(name, new[name])} instead of {_text(name, old[name])}"
        for name in names
        if new[name] != old[name]
    ]
    return found + [f"other {prefix}{key}" for key in _others(before, now)]


def _asked(limits: ResourceLimits) -> dict[str, float | None]:
    asked: dict[str, float | None] = {name: limits.asked(name) for name in LIMIT_NAMES}
    return {**asked, "disk": asked["disk_read"]}


def _others(before: LimitClass, now: LimitClass) -> Iterator[str]:
    if (before.needs, before.isolation) != (now.needs, now.isolation):
        yield "needs"
    if before.rlimits != now.rlimits:
        yield "rlimits"


def _text(name: str, value: float | None) -> str:
    """As the policy has it."""
    if value is None:
        return "unlimited"
    if name in _COUNTED:
        return str(value)
    if name == "cpu":
        return f"{value * 100:g}%"
    unit, size = next((unit, size) for unit, size in _UNITS if value % size == 0)
    return f"{int(value) // size}{unit}{'/s' if name in _RATES else ''}"
