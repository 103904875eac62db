"""The three kinds of host, put together from what sets limits and what kills."""

import os
import select
from typing import Any

from ..limits import LIMIT_NAMES, Enforcement, Limits
from .files import GroupError, remove_tree
from .freezer import Freezer
from .kinds import Group, Hierarchy
from .mounts import Mounts, parse
from .probing import try_limit
from .unified import Unified
from .v1 import CONTROLLERS as V1_NEEDED
from .v1 import V1Limits
from .v2 import CONTROLLERS as V2_NEEDED
from .v2 import V2Limits, enable_controllers

_HEX = frozenset("0123456789abcdef")


class CgroupGroup:
    """One job's group: ``limits`` holds it, ``killer`` ends it."""

    def __init__(self, limits: V1Limits | V2Limits, killer: Unified | Freezer) -> None:
        self._limits = limits
        self._killer = killer
        self._enter_fds: list[int] = []
        self.enforcement: list[Enforcement] = limits.enforcement
        self.usage_files: dict[str, str] = limits.usage_files()

    def _procs_files(self) -> list[str]:
        files = self._limits.procs_files() if isinstance(self._limits, V1Limits) else []
        return files + (self._killer.procs_files() if isinstance(self._killer, Unified) else [])

    def enter_fds(self) -> list[int]:
        if not self._enter_fds:
            try:
                for path in self._procs_files():
                    self._enter_fds.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
            except OSError as error:
                self.close_enter_fds()
                raise GroupError(f"opening {path}: {error.strerror}") from error
        return list(self._enter_fds)

    def close_enter_fds(self) -> None:
        while self._enter_fds:
            os.close(self._enter_fds.pop())

    def notify_fd(self) -> int | None:
        return self._killer.notify_fd() if isinstance(self._killer, Unified) else None

    def kill_fd(self) -> int | None:
        return self._killer.kill_fd() if isinstance(self._killer, Unified) else None

    def populated(self) -> bool:
        return self._killer.populated()

    def pids(self) -> list[int]:
        return self._killer.pids()

    def kill(self) -> int:
        return self._killer.kill()

    def freeze(self, frozen: bool) -> None:
        self._killer.freeze(frozen)

    def frozen(self) -> bool:
        return self._killer.frozen()

    def counters(self) -> dict[str, Any]:
        return self._limits.counters()

    def remove(self) -> bool:
        self.close_enter_fds()
        done = self._limits.remove() if isinstance(self._limits, V1Limits) else True
        return (self._killer.remove() if isinstance(self._killer, Unified) else True) and done


class CgroupHierarchy:
    """Groups below ``parent`` in every hierarchy that this kind of host uses."""

    def __init__(self, kind: str, mounts: Mounts, parent: str) -> None:
        self.kind = kind
        self._mounts = mounts
        self._parent = parent
        self._capabilities: list[Enforcement] | None = None
        if kind == "v2" and mounts.v2 is not None:
            enable_controllers(mounts.v2, parent)

    def capabilities(self) -> list[Enforcement]:
        if self._capabilities is None:  # the host does not change while this process lives
            self._capabilities = self._find_capabilities()
        return list(self._capabilities)

    def _find_capabilities(self) -> list[Enforcement]:
        names = self._mounts.v2_controllers if self.kind == "v2" else frozenset(self._mounts.v1)
        disk = "io" if self.kind == "v2" else "blkio"
        needs = dict(zip(LIMIT_NAMES, ("cpu", "memory", disk, disk, "pids", None), strict=True))
        found = []
        for limit, controller in needs.items():
            if controller is None:
                found.append(Enforcement(limit, "enforced", detail="kept by penstock itself"))
            elif controller not in names:
                found.append(
                    Enforcement(limit, "unavailable", detail=f"no {controller} controller")
                )
            elif controller == "blkio":
                found.append(Enforcement(limit, "partial", detail="direct I/O only (cgroup v1)"))
            elif controller == "io":
                found.append(Enforcement(limit, "enforced"))
            else:
                found.append(try_limit(self.create, limit))
        return found

    def create(self, name: str, limits: Limits, device: str | None) -> Group:
        if len(name) != 32 or not set(name) <= _HEX:
            raise GroupError(f"{name!r} is not a job id")
        mounts = self._mounts
        unified = Unified(mounts.v2, self._parent, name) if mounts.v2 is not None else None
        v1 = V1Limits(mounts.v1, self._parent, name) if self.kind != "v2" else None
        if unified is not None:
            unified.create()
        try:
            return _limited(v1, unified, limits, device)
        except BaseException:
            if v1 is not None:
                v1.remove()
            if unified is not None:
                unified.remove()
            raise

    def _parents(self) -> list[str]:
        roots = set(self._mounts.v1.values()) if self.kind != "v2" else set()
        if self._mounts.v2 is not None:
            roots.add(self._mounts.v2)
        return [root + self._parent for root in sorted(roots)]

    def sweep(self) -> int:
        names: set[str] = set()
        for parent in self._parents():
            if not os.path.isdir(parent):
                continue
            for entry in os.scandir(parent):
                if entry.is_dir(follow_symlinks=False):
                    names.add(entry.name)
                    _empty(entry.path)
        for parent in self._parents():
            for name in names:
                remove_tree(os.path.join(parent, name))
        for parent in self._parents():
            # Now, so that what cannot be made is said at the start and not to the first client.
            os.makedirs(parent, exist_ok=True)
        return len(names)

    def remove_parent(self) -> None:
        for parent in self._parents():
            try:
                os.rmdir(parent)
            except OSError:
                continue  # shared with another penstock, or never made


def _limited(
    v1: V1Limits | None, unified: Unified | None, limits: Limits, device: str | None
) -> Group:
    """Raises GroupError; the caller removes what was made."""
    try:
        if v1 is not None:
            v1.create(limits, device)
            return CgroupGroup(v1, unified or Freezer(v1.paths["freezer"]))
        assert unified is not None  # a v2 host has the v2 mount
        v2 = V2Limits(unified)
        v2.create(limits, device)
        return CgroupGroup(v2, unified)
    except (OSError, ValueError) as error:
        raise GroupError(f"setting limits: {error}") from error


def _empty(path: str) -> None:
    """Kills what is in a stale group and waits until the kernel has let go of it.

    Only at start, before anything is accepted, so waiting a moment costs nobody.
    """
    for _ in range(1000):
        if os.path.exists(os.path.join(path, "freezer.state")):
            group: Unified | Freezer = Freezer(path)
        else:
            group = Unified(os.path.dirname(path), "", os.path.basename(path))
        pids = group.pids()
        if not pids:
            return
        group.kill()
        for pid in pids:
            _wait_dead(pid)


def _wait_dead(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        select.select([fd], [], [], 0.2)
    finally:
        os.close(fd)


def detect(parent: str, mountinfo: str | None = None) -> Hierarchy | None:
    """The kind of this host, or None where this process may not make groups.

    v2 where its mount has the controllers, else v1, with the v2 mount beside it where
    there is one (hybrid). ``parent`` is the own group below each mount, "/penstock".
    """
    if mountinfo is None:
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            mountinfo = file.read()
    mounts = parse(mountinfo)
    if mounts.v2 is not None and mounts.v2_controllers.issuperset(V2_NEEDED):
        return CgroupHierarchy("v2", mounts, parent) if _writable(mounts.v2 + parent) else None
    if not mounts.v1.keys() >= set(V1_NEEDED):
        return None
    roots = [mounts.v1[name] + parent for name in V1_NEEDED]
    if mounts.v2 is not None:
        roots.append(mounts.v2 + parent)
    elif "freezer" not in mounts.v1:
        return None
    if not all(_writable(root) for root in roots):
        return None
    return CgroupHierarchy("hybrid" if mounts.v2 is not None else "v1", mounts, parent)


def _writable(path: str) -> bool:
    """May a directory be made at ``path``, or below it if it is there?"""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return os.access(path, os.W_OK, effective_ids=True)
