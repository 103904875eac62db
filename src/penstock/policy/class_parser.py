"""Classes of limits as the policy file writes them (pure)."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar, cast

from .limit_classes import (
    GROUP_LIMIT_NAMES,
    LIMIT_NAMES,
    NO_LIMITS,
    STORAGE_LIMIT_NAMES,
    LimitClass,
    LimitName,
    Need,
    ResourceLimits,
    parse_cores,
    parse_rate,
    parse_size,
)
from .rlimit_policy import parse_rlimits
from .toml_tables import Table, show

UNLIMITED: Final = "unlimited"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}", re.ASCII)
_MAX_PROCESSES: Final = 1 << 22  # PID_MAX_LIMIT of linux/threads.h
_MAX_FILES: Final = 10**9
DEFAULT_STORAGE_BYTES: Final = 10**9
DEFAULT_FILES: Final = 100_000
WATCHED: Final[Need] = "watched"

Number = TypeVar("Number", int, float)


def check_name(table: Table, name: str, what: str) -> None:
    """Classes and commands have names that need no quotes in a shell. Mistakes are recorded."""
    if not _NAME.fullmatch(name):
        table.wrong_itself(
            f"is no name of {what}",
            "write letters, digits, '.', '_', '+' and '-', at most 63, beginning with a letter "
            "or digit",
        )


def parse_class(name: str, table: Table) -> LimitClass:
    """One ``[classes.NAME]``. A limit that is not there is not set. Mistakes are recorded."""
    check_name(table, name, "a class")
    limits = _group_limits(table)
    output = _limit(table, "output", parse_rate, "10MB/s")
    # The server writes to disk what a job prints, so the output counts as the job's writing.
    bandwidth = output if table.has("output") else limits.disk_write_bytes_per_s
    limits = replace(
        limits,
        output_bytes_per_s=bandwidth,
        storage_bytes=_limit(table, "storage", parse_size, "1GB", DEFAULT_STORAGE_BYTES),
        files=_files(table),
    )
    needs_table = table.table("needs")
    isolation = _isolation_need(needs_table)
    # A default that the administrator has not written is held as well as the host can hold it;
    # otherwise policies from before this limit existed would start nothing any more.
    written = {name for name in STORAGE_LIMIT_NAMES if table.has(name)}
    silent = dict.fromkeys((name for name in STORAGE_LIMIT_NAMES if name not in written), WATCHED)
    needs = _needs(needs_table, LIMIT_NAMES, silent)
    rlimits = parse_rlimits(table.table("rlimits"))
    table.finish()
    return LimitClass(name, limits, needs, isolation, rlimits)


def parse_totals(name: str, client: Table) -> LimitClass:
    """What all jobs of a client may use together: ``[clients.NAME.limits]``.

    It has the limits of a class that a cgroup holds; output is bounded for each job alone.
    """
    if not client.has("limits"):
        return NO_LIMITS
    table = client.table("limits")
    limits = _group_limits(table)
    needs = _needs(table.table("needs"), GROUP_LIMIT_NAMES)
    table.finish()
    return LimitClass(name, limits, needs)


def _group_limits(table: Table) -> ResourceLimits:
    if table.has("disk") and (table.has("disk_read") or table.has("disk_write")):
        table.wrong("disk", "stands beside disk_read or disk_write", "write either, not both")
    disk = _limit(table, "disk", parse_rate, "10MB/s")
    return ResourceLimits(
        cpu_cores=_limit(table, "cpu", parse_cores, "10%"),
        memory_bytes=_limit(table, "memory", parse_size, "100MB"),
        disk_read_bytes_per_s=_limit(table, "disk_read", parse_rate, "10MB/s") or disk,
        disk_write_bytes_per_s=_limit(table, "disk_write", parse_rate, "10MB/s") or disk,
        processes=table.integer("processes", 1, 1, _MAX_PROCESSES)
        if table.has("processes")
        else None,
    )


def _files(table: Table) -> int | None:
    if table.value("files") == UNLIMITED:
        return None
    return table.integer("files", DEFAULT_FILES, 1, _MAX_FILES)


def _limit(
    table: Table,
    key: str,
    parse: Callable[[str], Number],
    example: str,
    default: Number | None = None,
) -> Number | None:
    def parse_limit(text: str) -> Number | None:
        if text == UNLIMITED:
            return None
        number = parse(text)
        if number <= 0:
            raise ValueError(f"{show(text)} would let nothing run")
        return number

    remedy = f'write for example "{example}", or "{UNLIMITED}"'
    return table.parsed(key, parse_limit, default, remedy=remedy)


def _isolation_need(table: Table) -> Need | None:
    words: tuple[Need, ...] = ("required", "best_effort")
    if table.has("isolation"):
        return cast(Need, table.choice("isolation", words, "required"))
    for word in words:
        if table.value("all") == word:
            return word
    return None  # or a mistake, which is recorded below


def _needs(
    table: Table, limits: tuple[LimitName, ...], silent: dict[LimitName, Need] | None = None
) -> dict[LimitName, Need]:
    """How much each limit is needed. A limit of which the table says nothing is ``required``,
    unless ``silent`` has another word for it."""
    needs: dict[LimitName, Need] = dict.fromkeys(LIMIT_NAMES, "required")
    needs.update(silent or {})
    # The limits that each key means. Later keys win over earlier ones, so the general come first.
    keys: dict[str, tuple[LimitName, ...]] = {
        "all": limits,
        "disk": ("disk_read", "disk_write"),
        **({"storage": STORAGE_LIMIT_NAMES} if "storage" in limits else {}),
        **{name: (name,) for name in limits if name != "storage"},
    }
    for key, names in keys.items():
        if not table.has(key):
            continue
        allowed = ["required", "best_effort"]
        if key.startswith("disk"):
            # cgroup v1 holds a disk bandwidth for direct I/O only.
            allowed.append("direct_io")
        if key in STORAGE_LIMIT_NAMES:
            allowed.append(WATCHED)
        need = cast(Need, table.choice(key, allowed, "required"))
        needs.update(dict.fromkeys(names, need))
    table.finish()
    return needs
