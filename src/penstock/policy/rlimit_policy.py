"""The kernel's limits of single processes, setrlimit(2), as jobs have them (pure).

A process inherits these from its parent. So every one of them is set for each job, from its class
or from DEFAULTS; otherwise a job's limits would depend on whether penstockd was started by systemd,
by a shell with ``ulimit -t 100``, or by cron.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from .limit_classes import LimitClass, Rlimit, parse_size
from .toml_tables import Table, parse_duration, show

UNLIMITED: Final = "unlimited"
_MIB: Final = 1 << 20
_MAX_COUNT: Final = 1 << 31
# fs.nr_open can be raised to this and no further (sysctl_nr_open_max of fs/file.c).
_MAX_OPEN: Final = (1 << 31) - 64
_MAX_CPU_S: Final = 366 * 86400


FREE: Final = Rlimit(None, None)
_NONE: Final = Rlimit(0, 0)

# By the names of limits.conf(5) and prlimit(1). Bytes, but for cpu (seconds), rttime (microseconds)
# and nproc, nofile, sigpending, locks, nice and rtprio (counts).
DEFAULTS: Final[Mapping[str, Rlimit]] = {
    "as": FREE,
    "core": _NONE,  # otherwise what a job had in memory would stay behind as a file
    "cpu": FREE,
    "data": FREE,
    "fsize": FREE,
    "locks": FREE,  # no effect since Linux 2.4.25
    "memlock": Rlimit(8 * _MIB, 8 * _MIB),  # MLOCK_LIMIT, the kernel's own since Linux 5.16
    "msgqueue": Rlimit(819_200, 819_200),  # MQ_BYTES_MAX, the kernel's own
    "nice": _NONE,  # a process that is preferred to others is not held by a limit of CPU
    # As systemd: select(2) works up to 1024, and a program that can use more raises it itself.
    "nofile": Rlimit(1024, 524_288),
    "nproc": FREE,  # it counts all processes of a user; `processes` of a class is a job's own
    "rss": FREE,  # no effect since Linux 2.4.30
    "rtprio": _NONE,
    "rttime": FREE,  # of real-time processes, which no job has
    "sigpending": Rlimit(16_384, 16_384),  # the kernel's own depends on the machine's memory
    "stack": Rlimit(8 * _MIB, None),  # _STK_LIM, the kernel's own
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """``parse`` gives a number, or raises ValueError; ``least`` is what any program needs."""

    parse: Callable[[object], int]
    least: int
    example: str
    most: int | None = None  # None: it may be unlimited


def _size(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError(f"{show(value)} is no size")
    return parse_size(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{show(value)} is no number")
    if not 0 <= value <= _MAX_COUNT:
        raise ValueError(f"{show(value)} is out of range")
    return value


def _cpu_seconds(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError(f"{show(value)} is no duration")
    seconds = parse_duration(value)
    if seconds > _MAX_CPU_S:
        raise ValueError(f"{show(value)} is more than a year")
    return math.ceil(seconds)  # the kernel counts whole seconds


# Those that a class may set. A job is never preferred to others, so nice, rtprio and rttime are not
# among them; nor are limits that have no effect.
_KINDS: Final[dict[str, _Kind]] = {
    # Below that the dynamic loader itself fails, which looks like a broken program.
    "as": _Kind(_size, 16 * _MIB, '"2GiB"'),
    "core": _Kind(_size, 0, '"0B"'),
    "cpu": _Kind(_cpu_seconds, 1, '"10m"'),
    "data": _Kind(_size, _MIB, '"1GiB"'),
    "fsize": _Kind(_size, 0, '"1GiB"'),
    "memlock": _Kind(_size, 0, '"64MiB"'),
    "msgqueue": _Kind(_size, 0, '"800kB"'),
    # Descriptors 0 to 2, the program, and its libraries, which the loader opens one at a time.
    "nofile": _Kind(_count, 8, "4096", _MAX_OPEN),
    "nproc": _Kind(_count, 1, "512"),
    "sigpending": _Kind(_count, 0, "1024"),
    # The kernel lets arguments have a quarter of it, and execve(2) promises 128 KiB for them.
    "stack": _Kind(_size, 512 * 1024, '"8MiB"'),
}


def parse_rlimits(table: Table) -> dict[str, Rlimit]:
    """What ``[classes.NAME.rlimits]`` sets, over DEFAULTS. Mistakes are recorded.

    A plain value is the soft and the hard limit; ``{ soft = …, hard = … }`` sets them apart, and
    the one that is left out is that of DEFAULTS.
    """
    found = {
        name: _both(table, name, kind)
        if isinstance(table.value(name), dict)
        else _single(table, name, kind)
        for name, kind in _KINDS.items()
        if table.has(name)
    }
    table.finish()
    return found


def _single(table: Table, name: str, kind: _Kind) -> Rlimit:
    value = _value(table, name, kind, DEFAULTS[name].hard)
    return Rlimit(value, value)


def _both(outer: Table, name: str, kind: _Kind) -> Rlimit:
    table, default = outer.table(name), DEFAULTS[name]
    before = len(table.mistakes)
    hard = _value(table, "hard", kind, default.hard)
    soft = _value(table, "soft", kind, least(default.soft, hard))
    table.finish()
    if len(table.mistakes) == before and least(soft, hard) != soft:
        table.wrong_itself("soft is above hard", "raise hard, or lower soft")
    return Rlimit(soft, hard)


def _value(table: Table, key: str, kind: _Kind, default: int | None) -> int | None:
    if not table.has(key):
        return default
    value = table.value(key)
    forever = kind.most is None
    remedy = f"write for example {kind.example}" + (f', or "{UNLIMITED}"' if forever else "")
    if value == UNLIMITED and forever:
        return None
    try:
        number = kind.parse(value)
    except ValueError as error:
        table.wrong(key, str(error), remedy)
        return default
    if number < kind.least or (kind.most is not None and number > kind.most):
        what = "too little for any program" if number < kind.least else "more than Linux has"
        table.wrong(key, f"{show(value)} is {what}", remedy)
        return default
    return number


def least(*limits: int | None) -> int | None:
    """The strictest; None is no limit."""
    return min((limit for limit in limits if limit is not None), default=None)


def most(*limits: int | None) -> int | None:
    """The least strict."""
    return None if None in limits else max(limit for limit in limits if limit is not None)


def of_class(limit_class: LimitClass) -> dict[str, Rlimit]:
    """All of them, for a job of such a class: what it sets over DEFAULTS.

    ``fsize`` is no higher than the class's ``storage``, so that the kernel bounds a single file
    between two looks of storage_watch.
    """
    found = {**DEFAULTS, **limit_class.rlimits}
    file, storage = found["fsize"], limit_class.limits.storage_bytes
    found["fsize"] = Rlimit(least(file.soft, storage), least(file.hard, storage))
    return found


def storage_bounds_files(limit_class: LimitClass) -> bool:
    """Does a file of such a job end at the class's ``storage``, instead of at a lower ``fsize``?

    A job that dies of the length of a file has then used up its storage, and its end says so.
    """
    storage = limit_class.limits.storage_bytes
    return storage is not None and of_class(limit_class)["fsize"].soft == storage
