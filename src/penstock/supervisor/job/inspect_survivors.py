"""Processes that do not end: what the kernel says they wait for."""

from collections.abc import Iterable
from typing import Final

from ..ipc.from_supervisor import Left

_MOST: Final = 32  # of one job, because more would explain nothing more


def inspect(pids: Iterable[int]) -> list[Left]:
    """pid, name, state and wchan of each that is no zombie, by proc(5).

    ``state`` is a letter, D for an uninterruptible sleep. ``wchan`` is the kernel's function
    that it sleeps in; "" if that is not known, because only root may read it of others' processes.
    """
    found: list[Left] = []
    for pid in pids:
        if len(found) == _MOST:
            break
        before, _, after = _read(pid, "stat").rpartition(")")
        state = after[1:2]
        if state in ("", "Z", "X"):
            continue
        wchan = _read(pid, "wchan").strip()
        name = before.partition("(")[2]
        found.append(Left(pid, name, state, "" if wchan == "0" else wchan))
    return found


def _read(pid: int, name: str) -> str:
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
