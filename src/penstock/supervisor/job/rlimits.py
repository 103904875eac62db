"""The limits of single processes that penstockd itself has, and those that it gives to jobs.

Any process can lower a hard limit, and only root can raise one. So penstockd raises its own, once,
to what it and its jobs need; a job's process then only lowers them, as its last step before exec.
"""

import os
import resource
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ...policy.limit_classes import LimitClass
from ...policy.rlimit_policy import DEFAULTS, least, most, of_class

# Numbers are not the same on every architecture, so they are Python's; LOCKS, which it lacks, is 10
# on all of them (asm/resource.h).
_NUMBERS: Final = {
    name: 10 if name == "locks" else getattr(resource, f"RLIMIT_{name.upper()}")
    for name in DEFAULTS
}
# Not unlimited, because the C library makes threads' stacks as large as it is.
_STACK_BYTES: Final = 8 << 20
# What the supervisor and its server need, and what follows where it cannot be had.
_OWN: Final[Mapping[str, tuple[int | None, str]]] = {
    "as": (None, "penstockd or its server ends when it needs more memory"),
    "cpu": (None, "the kernel kills penstockd, its server, or a job after so many seconds"),
    "data": (None, "penstockd or its server ends when it needs more memory"),
    "fsize": (None, "no output, record or audit line is written beyond that"),
    "nproc": (4096, "starts fail once its user has so many processes"),
    "rttime": (None, "the kernel kills penstockd after so long, if it is a real-time process"),
    "stack": (_STACK_BYTES, "the server's threads have little room"),
}
# Root lacks it in a container; an ordinary user has it as root at the simplest.
_WITH_THE_RIGHT: Final = {True: "with CAP_SYS_RESOURCE", False: "as root"}
Applied = Sequence[tuple[int, int, int]]


def raise_own(classes: Iterable[LimitClass], descriptors: int) -> list[str]:
    """Raises this process's limits for itself, its server, and jobs of such classes. Returns what
    could not be raised, for people, with what follows from it.

    ``descriptors`` are what it needs itself. For a start, and for other classes than there were
    then; a server that runs keeps what it has. Raises OSError.
    """
    wanted = [DEFAULTS, *(each.rlimits for each in classes)]
    complaints, less_for_jobs = [], []
    for name in _NUMBERS:
        jobs_hard = most(*(each[name].hard for each in wanted if name in each))
        # What follows of too few descriptors is fewer jobs at once: see startup.most_jobs.
        needed, follows = (descriptors, "") if name == "nofile" else _OWN.get(name, (0, ""))
        soft, hard = _raise(name, most(jobs_hard, needed))
        if follows and least(soft, needed) != needed:
            complaints.append(
                f"RLIMIT_{name.upper()} is {soft} and cannot be raised, so that {follows}; start "
                f"penstockd with Limit{name.upper()}=infinity, or ulimit"
            )
        elif least(hard, jobs_hard) != jobs_hard:
            less_for_jobs.append(f"{name} {hard}")
    if less_for_jobs:
        complaints.append(
            f"no job gets more than {', '.join(less_for_jobs)}, as these rlimits of penstockd "
            f"cannot be raised; start it with higher ones, or {_WITH_THE_RIGHT[os.geteuid() == 0]}"
        )
    return complaints


def for_jobs(limit_class: LimitClass) -> Applied:
    """Number, soft and hard limit of each, for ``apply``; as rlimit_policy has them for a class,
    and none above what this process has."""
    found = []
    for name, wanted in of_class(limit_class).items():
        own_hard = _known(resource.getrlimit(_NUMBERS[name])[1])
        soft, hard = least(wanted.soft, own_hard), least(wanted.hard, own_hard)
        found.append((_NUMBERS[name], _raw(soft), _raw(hard)))
    return found


def apply(rlimits: Applied) -> None:
    """In a child, last before exec, because with what a job may have this process may not be able
    to do what comes before. Raises OSError."""
    for number, soft, hard in rlimits:
        resource.setrlimit(number, (soft, hard))


def _raise(name: str, hard: int | None) -> tuple[int | None, int | None]:
    """Sets the hard limit to at least that, as far as the kernel lets, and the soft one of what is
    needed here to the same; what they are then."""
    number = _NUMBERS[name]
    had_soft, had_hard = (_known(value) for value in resource.getrlimit(number))
    if name == "nofile":
        hard = least(hard, most(_most_open(), had_hard))
    for highest in (most(had_hard, hard), had_hard):
        soft = highest if name in _OWN or name == "nofile" else had_soft
        if name == "stack":
            soft = least(_STACK_BYTES, highest)
        try:
            resource.setrlimit(number, (_raw(soft), _raw(highest)))
        # ValueError is what Python makes of EPERM; root without CAP_SYS_RESOURCE gets it, too.
        except (ValueError, OSError):
            continue
        break
    now_soft, now_hard = resource.getrlimit(number)
    return _known(now_soft), _known(now_hard)


def _most_open() -> int:
    """The highest that RLIMIT_NOFILE can be set to, even by root."""
    with open("/proc/sys/fs/nr_open", encoding="ascii") as file:
        return int(file.read())


def _known(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY else value


def _raw(value: int | None) -> int:
    return resource.RLIM_INFINITY if value is None else value
