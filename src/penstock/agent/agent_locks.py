"""The locks of a directory's agents: who has one is alive, and who begins looks at all of them.

So what agents have left that were killed can be removed, and how many there are has a bound.
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_ALL: Final = "agents.lock"
_WAIT_S: Final = 2.0
"""How long the others' looking may take: they do nothing but that meanwhile."""
_LOOK_S: Final = 0.02
_KEPT_S: Final = 3600.0
"""How long it is kept what went wrong with one that could not begin."""


class AgentLocks:
    """A block in which no other agent of this directory begins."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._all = -1
        self._ours: Path | None = None

    def __enter__(self) -> Self:
        """Raises TimeoutError and OSError."""
        deadline = time.monotonic() + _WAIT_S
        while (found := _locked(self._directory / _ALL)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"another agent has been beginning for {_WAIT_S:.0f} s")
            time.sleep(_LOOK_S)
        self._all = found
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        os.close(self._all)

    def take(self, lock: Path) -> int | None:
        """That lock's descriptor, which keeps it; None if another process does. Raises OSError."""
        self._ours = lock
        return _locked(lock)

    def clear_dead(self) -> int:
        """Removes what is left of agents that have ended. Returns how many others live."""
        living = 0
        for lock in self._directory.glob("agent-*.lock"):
            if lock == self._ours:
                continue
            with contextlib.suppress(OSError):  # what is no lock of ours is nothing to remove
                if (found := _locked(lock)) is None:
                    living += 1
                    continue
                for path in (lock.with_suffix(".sock"), lock):
                    path.unlink(missing_ok=True)
                os.close(found)
        for log in self._directory.glob("agent-*.log"):
            with contextlib.suppress(OSError):
                if time.time() - log.stat().st_mtime > _KEPT_S:
                    log.unlink()
        return living


def _locked(path: Path) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd
