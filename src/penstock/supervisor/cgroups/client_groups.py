"""A group for each client, above those of its jobs: bounds and counts what they use together."""

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ...policy.limit_classes import GROUP_LIMIT_NAMES, LimitName, ResourceLimits
from .cgroup_mounts import Mounts
from .group_files import GroupError, pids_below, read, write
from .group_limits import GroupLimits
from .life_groups import is_life
from .v1 import V1Limits
from .v2 import V2Limits, enable_controllers

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_OURS: Final = re.compile(
    rf"client-{_NAME.pattern}|id-{_JOB_ID.pattern}|{_JOB_ID.pattern}", re.ASCII
)


def group_name(client_id: str) -> str:
    """The directory of a client: safe for every id, and the same in every life.

    It has a prefix, because ``memory.max`` is a valid id and also a file of every group. Ids that
    are no plain names, such as URIs, are replaced by their SHA-256.
    """
    if _NAME.fullmatch(client_id):
        return f"client-{client_id}"
    digest = hashlib.sha256(client_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"id-{digest[:32]}"


def is_job_id(name: str) -> bool:
    """Whether ``name`` has the form of a job's directory."""
    return _JOB_ID.fullmatch(name) is not None


def is_ours(name: str) -> bool:
    """Whether penstock gives such names: to a life's group, a client's, or a job's without both."""
    return is_life(name) or _OURS.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class ClientTotals:
    """A client, and what its jobs may use together; ``name`` is that of its group."""

    name: str
    limits: ResourceLimits


@dataclass(slots=True)
class _Held:
    """``limits`` are the same object as long as the group is held, because the checks of running
    jobs look through it. ``asked`` None: they must be set again."""

    limits: GroupLimits
    asked: ResourceLimits | None


class TotalRefused(Exception):
    """The kernel holds the group ``name`` as before, because it does not take these limits."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


class ClientGroups:
    """The clients' groups that this process has made. They are kept while it lives.

    So only a client's first job makes its group, and what a client has used can be read at any
    time. There are at most as many as its policies have had clients; the next penstockd sweeps
    them.
    """

    def __init__(self, kind: str, mounts: Mounts, parent: str) -> None:
        self._kind = kind
        self._mounts = mounts
        self._parent = parent
        # By disk as well, because a bandwidth is set when a job first works on a disk.
        self._held: dict[tuple[str, str | None], _Held] = {}

    def hold(self, client: ClientTotals, device: str | None) -> GroupLimits:
        """Makes the group if it is not there, and returns its limits as the kernel holds them.

        Raises GroupError. If a limit could not be set, the next call sets it again.
        """
        held = self._held.get((client.name, device))
        if held is None:
            self._make_directories(client.name)
            limits = self._open(client.name)
            limits.set(client.limits, device)
            held = self._held[client.name, device] = _Held(limits, client.limits)
        elif held.asked != client.limits:
            self._make_directories(client.name)
            _set(held, client.limits, device)
        return held.limits

    def change(self, totals: Mapping[str, ResourceLimits]) -> None:
        """Sets other limits for these groups, by name, as far as they are there; all or none.

        Limits of memory below what is in use are refused, because on v2 the kernel would take them,
        and end processes for it. Raises TotalRefused.
        """
        changing = [
            (*place, held, held.asked)
            for place, held in self._held.items()
            if held.asked != totals.get(place[0], held.asked) and self._is_there(place[0], held)
        ]
        done: list[tuple[_Held, ResourceLimits | None, str | None]] = []
        for name, device, held, before in changing:
            try:
                self._check_use(name, before, totals[name])
                done.append((held, before, device))
                _set(held, totals[name], device)
            except GroupError as error:
                for changed, earlier, disk in reversed(done):
                    with contextlib.suppress(GroupError):  # the next start sets it again
                        if earlier is not None:
                            _set(changed, earlier, disk)
                raise TotalRefused(name, str(error)) from error

    def _is_there(self, name: str, held: _Held) -> bool:
        """Whether nobody has removed it. One that is gone has no jobs, so it need not hold anything
        before the next one, which has it made and limited."""
        paths = (root + self._parent for root in self._mounts.roots(self._kind))
        if all(os.path.isdir(os.path.join(path, name)) for path in paths):
            return True
        held.asked = None
        return False

    def _check_use(self, name: str, before: ResourceLimits | None, wanted: ResourceLimits) -> None:
        """Raises GroupError if memory is to be limited to less than the group uses."""
        had = None if before is None else before.memory_bytes
        if wanted.memory_bytes is None or (had is not None and had <= wanted.memory_bytes):
            return
        if self._kind == "v2":
            group, use = f"{self._mounts.v2}{self._parent}/{name}", "memory.current"
        else:
            group, use = (
                f"{self._mounts.v1['memory']}{self._parent}/{name}",
                "memory.usage_in_bytes",
            )
        if not pids_below(group):  # what the kernel keeps of files alone it gives back
            return
        used = int(read(f"{group}/{use}"))
        if wanted.memory_bytes >= used:
            return
        own = used - _of_files(read(f"{group}/memory.stat"))
        if own <= wanted.memory_bytes and self._kind == "v2":
            used = own = _reclaimed(group, wanted.memory_bytes)
        if own > wanted.memory_bytes:
            raise GroupError(
                f"its jobs use {own} bytes of memory together, and {used} with what the kernel "
                f"keeps of their files; the limit would be {wanted.memory_bytes}; stop some of "
                "them, or set a higher limit"
            )

    def forget(self) -> None:
        """Another process has removed groups, so each is made and limited again when needed."""
        self._held.clear()

    def _make_directories(self, name: str) -> None:
        for root in self._mounts.roots(self._kind):
            path = os.path.join(root + self._parent, name)
            try:
                os.mkdir(path)
            except FileExistsError:
                continue
            except OSError as error:
                raise GroupError(f"making {path}: {error.strerror}") from error

    def _open(self, name: str) -> GroupLimits:
        if self._kind == "v2":
            assert self._mounts.v2 is not None  # a v2 host has the v2 mount
            above = self._mounts.v2 + self._parent
            enable_controllers(above, name)
            return V2Limits(f"{above}/{name}", total=True)
        return V1Limits(self._mounts.v1, self._parent, name, total=True)


def _of_files(stat: str) -> int:
    """How much of a group's memory is content of files, which the kernel gives back where a limit
    is lowered, by its memory.stat. v1 counts the groups below in lines of their own."""
    lines = dict(line.partition(" ")[::2] for line in stat.splitlines())
    names = ("inactive_file", "active_file")
    if "total_inactive_file" in lines:
        names = ("total_inactive_file", "total_active_file")
    texts = [lines.get(name, "") for name in names]
    return sum(int(text) for text in texts if text.isdecimal())


def _reclaimed(group: str, limit: int) -> int:
    """What a v2 group uses once the kernel has given back what it can: by memory.high, as the
    kernel ends processes where memory.max cannot be reached. Raises GroupError."""
    high = f"{group}/memory.high"
    write(high, str(limit))
    try:
        return int(read(f"{group}/memory.current"))
    finally:
        write(high, "max")


def _set(held: _Held, wanted: ResourceLimits, device: str | None) -> None:
    """Sets limits in the place of others. Raises GroupError; they are set again at the next start
    then."""
    before, held.asked = held.asked, None
    # First, because ``set`` writes no file for what is not limited, and because the kernel refuses
    # some files while another one is lower: on v1 memory above memory with swap.
    higher = [n for n in GROUP_LIMIT_NAMES if before is None or _is_higher(n, before, wanted)]
    held.limits.lift(higher, device)
    held.limits.set(wanted, device)
    held.asked = wanted


def _is_higher(name: LimitName, before: ResourceLimits, wanted: ResourceLimits) -> bool:
    had, has = before.asked(name), wanted.asked(name)
    return had is not None and (has is None or has > had)
