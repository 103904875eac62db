"""Files that have lost their names, by the processes that hold them.

A descriptor belongs to a thread, not to a process: threads may have tables of their own, and the
table of the first one is empty once it has ended, although others run on. So every thread is looked
at, unless it shares its table with the one before.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from ..isolation.seccomp import DENIED, MACHINES
from ..kernel import system_calls

_KCMP_FILES: Final = 2  # linux/kcmp.h: have two tasks one table of descriptors?
_KCMP: Final = next(calls["kcmp"] for calls in DENIED.values() if "kcmp" in calls)
_DELETED: Final = " (deleted)"  # proc(5), /proc/pid/fd
# Entries between two pauses.
_STEP: Final = 32


def nameless(pids: Iterable[int]) -> Iterator[os.stat_result | None]:
    """Regular files without a name that these processes have open or mapped; None is a pause.

    A file may come several times. A descriptor within a message that no process has received yet
    belongs to none, so it is not found. Raises OSError if this process is out of descriptors.
    """
    for pid in pids:
        yield None
        with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
            yield from _of_process(pid)


def _of_process(pid: int) -> Iterator[os.stat_result | None]:
    seen: str | None = None
    has_memory = False
    for number, thread in enumerate(os.listdir(f"/proc/{pid}/task")):
        if number % _STEP == 0:
            yield None
        if seen is not None and has_memory and _has_same_table(seen, thread):
            continue
        seen = thread
        # /proc has for the number of a thread all that it has for that of a process (proc(5)).
        with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
            yield from _held_by(f"/proc/{thread}/fd")
        if has_memory:
            continue
        with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
            # A program has a hundred mappings, and one text of them all is read sooner than links.
            with open(f"/proc/{thread}/maps", "rb") as file:
                text = file.read()
            has_memory = bool(text)  # all threads share it, but for those that have ended
            if _DELETED.encode() in text:
                yield from _held_by(f"/proc/{thread}/map_files")


def _has_same_table(one: str, other: str) -> bool:
    """Do two threads share their table of descriptors? False also where the kernel does not say."""
    machine = MACHINES.get(os.uname().machine)
    number = None if machine is None else _KCMP[machine.column]
    if number is None:
        return False
    try:
        return system_calls.call(number, int(one), int(other), _KCMP_FILES, 0, 0) == 0
    except OSError:
        return False


def _held_by(directory: str) -> Iterator[os.stat_result | None]:
    with os.scandir(directory) as entries:
        for number, entry in enumerate(entries):
            if number % _STEP == 0:
                yield None
            with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
                # Its text first, because stat(2) of a file on a dead network mount waits for ever.
                if not _is_deleted(entry.path):
                    continue
                status = os.stat(entry.path)
                if status.st_nlink == 0 and stat.S_ISREG(status.st_mode):
                    yield status


def _is_deleted(link: str) -> bool:
    """Could the file of this descriptor be without a name? Raises OSError."""
    try:
        return os.readlink(link).endswith(_DELETED)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return True  # a path that is longer than a page tells nothing
