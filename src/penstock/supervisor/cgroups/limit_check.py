"""The check of one job: do its limits and its client's still hold, and is it under them?

``changed`` only reads. ``put_back`` writes, and must run in a process of its own, because the
kernel takes used memory back when a limit is lowered, and that can take as long as a disk does.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from ...policy.limit_classes import CHANGED_OUTSIDE, Enforcement, LimitName
from .control_files import ControlFile
from .group_files import GroupError
from .group_limits import GroupLimits
from .strays import Strays

_NONE: Final = "nothing"
_ALL: Final = "with all processes of the job"
_MOST_SHOWN: Final = 5  # pids of those that were moved away


@dataclass(frozen=True, slots=True)
class LimitChange:
    """A limit of the job's group or its client's (``of``) that is no longer as it was set.

    Texts are the kernel's, "" for a file that is gone; for cgroup.procs they list the pids that are
    missing. ``put_back``: the limit holds again.
    """

    of: Literal["job", "client"]
    limit: LimitName
    file: str
    found: str
    held: str
    put_back: bool


class LimitCheck:
    """Checks the limits of one job. ``entries`` and ``client_entries`` are as of the last look.

    ``prepare`` brings missing files back where another program has disabled a controller; it may
    raise GroupError. ``strays`` are the job's; None where no process can leave its group.
    """

    def __init__(
        self,
        own: GroupLimits,
        client: GroupLimits | None,
        prepare: Callable[[], None] = lambda: None,
        strays: Strays | None = None,
    ) -> None:
        self._own = own
        self._client = client
        self._prepare = prepare
        self._strays = strays
        self._over = False

    @property
    def entries(self) -> list[Enforcement]:
        """How the job's own limits are held, as of the last look."""
        return self._own.entries

    @property
    def client_entries(self) -> list[Enforcement]:
        """How its client's totals are held, as of the last look; empty where there are none."""
        return [] if self._client is None else self._client.entries

    def end(self) -> None:
        """Ends the looks, because the job has ended, or is being killed and has lost its quota for
        that."""
        self._over = True
        if self._strays is not None:
            self._strays.end()

    def changed(self) -> list[LimitChange]:
        """Every limit that is not as it was set. Only reads."""
        if self._over:
            return []
        found = [_change("job", *each) for each in self._own.files.changed()]
        if self._client is not None:
            found += [_change("client", *each) for each in self._client.files.changed()]
        return found + self._left()

    def _left(self) -> list[LimitChange]:
        """A change for each limit that processes are no longer under, because another program has
        moved them away."""
        pids: dict[str, list[int]] = {}
        for directory, pid in self._strays.found() if self._strays is not None else ():
            pids.setdefault(directory, []).append(pid)
        found: list[LimitChange] = []
        for directory, missing in pids.items():
            shown = ", ".join(map(str, missing[:_MOST_SHOWN]))
            more = len(missing) - _MOST_SHOWN
            text = f"without process {shown}" + (f" and {more} more" if more > 0 else "")
            found += [
                LimitChange("job", limit, "cgroup.procs", text, _ALL, put_back=False)
                for limit in self._own.files.limits_in(directory)
            ]
        return found

    def put_back(self) -> None:
        """Writes what has changed; may take seconds (see the module). ``settle`` finds failures.

        It writes twice, because the kernel refuses some files while another one is wrong: on v1 a
        quota above that of the parent, or memory above memory with swap.
        """
        with contextlib.suppress(GroupError):  # ``settle`` finds the missing files
            self._prepare()
        if self._strays is not None:
            self._strays.bring_back()
        for limits in (self._own, self._client) * 2:
            if limits is not None:
                limits.files.put_back()

    def settle(self, changes: Sequence[LimitChange]) -> list[LimitChange]:
        """Called after ``put_back``, or instead of it: the same changes with their result, which
        ``entries`` reports from now on."""
        left = {_what(each) for each in self.changed()}
        done = [replace(each, put_back=_what(each) not in left) for each in changes]
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        _say(self._own, [each for each in done if each.of == "job"], at)
        if self._client is not None:
            _say(self._client, [each for each in done if each.of == "client"], at)
        return done


def _what(change: LimitChange) -> tuple[str, str, str]:
    return change.of, change.limit, change.file


def _change(of: Literal["job", "client"], file: ControlFile, found: str) -> LimitChange:
    name = os.path.basename(file.path)
    return LimitChange(of, file.limit, name, found, file.held, put_back=False)


def _say(limits: GroupLimits, changes: Sequence[LimitChange], at: str) -> None:
    for index, entry in enumerate(limits.entries):
        mine = [each for each in changes if each.limit == entry.limit]
        if not mine:
            continue
        as_set = limits.as_set[index]
        lost = [each for each in mine if not each.put_back]
        told = lost or mine
        what = ", ".join(f"{each.file} was {each.found or _NONE}" for each in told)
        if lost:
            detail = f"{CHANGED_OUTSIDE} at {at}, and cannot be put back now: {what}"
            limits.entries[index] = Enforcement(entry.limit, "unavailable", lost[0].found, detail)
        else:
            detail = f"{CHANGED_OUTSIDE} at {at}, and put back: {what}"
            before = f"{as_set.detail}; " if as_set.detail else ""
            limits.entries[index] = replace(as_set, detail=before + detail)
