"""One job's group in the kernel: a GroupLimits that holds it and a Killer that ends it."""

import contextlib
import functools
import os
from collections.abc import Callable

from ...policy.limit_classes import Enforcement
from ..kernel.clone3 import CgroupEntrance, can_clone_into
from .counters import parse as parse_counters
from .group_files import GroupError, read
from .group_limits import GroupLimits
from .killer import Killer
from .limit_check import LimitCheck
from .strays import Strays
from .thawing import leave_freezers, thaw

_can_be_born_inside = functools.cache(can_clone_into)


class JobGroup:
    """Implements Group (interface.py) for every kind of host, with the two parts that differ."""

    def __init__(
        self,
        limits: GroupLimits,
        killer: Killer,
        client: GroupLimits | None,
        prepare: Callable[[], None],
        top: str,
        freezer: str | None,
    ) -> None:
        """``client`` and ``prepare`` are passed to LimitCheck. ``top`` is the base's directory in
        the killer's hierarchy. ``freezer`` is v1's freezer mount where penstock has no groups,
        otherwise None.
        """
        homes = {**limits.paths, killer.controller: killer.path}
        self._strays = Strays(homes, killer.pids)
        self.limit_check = LimitCheck(limits, client, prepare, self._strays)
        self._limits = limits
        self._killer = killer
        self._top = top
        self._freezer = freezer
        self._entrance: CgroupEntrance | None = None
        self.path = killer.path
        self.usage_files: dict[str, str] = limits.usage_files() | killer.usage_files()

    @property
    def entries(self) -> list[Enforcement]:
        return self.limit_check.entries

    @property
    def client_entries(self) -> list[Enforcement]:
        return self.limit_check.client_entries

    def entrance(self) -> CgroupEntrance:
        if self._entrance is None:
            self._entrance = self._open_entrance()
        return self._entrance

    def _open_entrance(self) -> CgroupEntrance:
        files = self._limits.tasks_files()
        birth: list[str] = []
        entry = self._killer.procs_file()
        if entry is not None:
            if _can_be_born_inside():
                birth = [self._killer.path]
            else:
                files.append(entry)
        opened: list[int] = []
        try:
            for path in birth:
                opened.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            for path in files:
                opened.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            for fd in opened:
                os.close(fd)
            raise GroupError(f"opening {path}: {error.strerror}") from error
        return CgroupEntrance(opened[0] if birth else None, tuple(opened[len(birth) :]))

    def close_entrance(self) -> None:
        entrance, self._entrance = self._entrance, None
        if entrance is not None:
            for fd in (entrance.birth_fd, *entrance.write_fds):
                if fd is not None:
                    os.close(fd)

    def notify_fd(self) -> int | None:
        return self._killer.notify_fd()

    def kill_fd(self) -> int | None:
        return self._killer.kill_fd()

    def follow(self, main: int) -> None:
        self._strays.follow(main)

    def gather(self) -> list[int]:
        return self._strays.bring_back(self._killer.controller)

    def populated(self) -> bool:
        return self._killer.populated()

    def pids(self) -> list[int]:
        return self._killer.pids()

    def kill(self) -> int:
        self.gather()
        self.limit_check.end()
        count = self._killer.kill()
        if count:
            self._killer.let_die(self._top)
            # Because processes die slowly under a quota, and the job needs no quota any more.
            # docs/cgroups.md has figures.
            with contextlib.suppress(GroupError):
                self._limits.lift_quota()
        return count

    def freeze(self, frozen: bool) -> None:
        self._killer.freeze(frozen)

    def frozen(self) -> bool:
        return self._killer.frozen()

    def thaw(self) -> list[str]:
        found: list[str] = []
        if self._freezer is not None:
            moved = leave_freezers(self._freezer, self._killer.pids())
            found += [f"process {pid} was in a frozen group of others" for pid in moved]
        found += [f"{path} was frozen" for path in thaw(self.path, self._top)]
        return found

    def counters(self) -> dict[str, float]:
        texts = {}
        for key, path in self.usage_files.items():
            if key.endswith(".pressure"):  # no counter that only grows
                continue
            with contextlib.suppress(GroupError):  # this kernel lacks it, or the group is gone
                texts[key] = read(path)
        return parse_counters(texts).counted()

    def remove(self) -> bool:
        self.limit_check.end()
        self.close_entrance()
        done = self._limits.remove()
        return self._killer.remove() and done
