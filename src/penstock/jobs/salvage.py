"""A database that SQLite cannot use any more: put aside, and what is readable carried over."""

import contextlib
import os
import sqlite3
from typing import Final

from .store import Store

# In order: rows of requests refer to jobs.
_TABLES: Final = ("jobs", "handles", "removed", "strays", "losses", "requests")
_FILES: Final = ("", "-wal", "-shm")


def open_store(path: str) -> tuple[Store, list[str]]:
    """The store, and what is to be said about it: nothing if it was whole.

    A damaged one is renamed to ``<path>.damaged-<n>``, once a new one is complete, made of the
    rows that can still be read. Killed at any step, the next call does the same or goes on.
    Raises sqlite3.Error, OSError: the disk is full or refuses.
    """
    new = f"{path}.new"
    if os.path.exists(new) and not os.path.exists(path):
        os.rename(new, path)  # it was complete, and the damaged one was put aside already
    try:
        return Store(path), []
    except sqlite3.OperationalError:
        raise  # locked, full, or not to be opened: another database would not help
    except sqlite3.DatabaseError as error:
        why = str(error)
    for ending in _FILES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new + ending)
    number = _earlier(path) + 1
    salvaged = Store(new)
    try:
        kept = salvaged.copy_from(path, _TABLES)
        salvaged.note_loss(number)
    finally:
        salvaged.close()
    damaged = f"{path}.damaged-{number}"
    for ending in reversed(_FILES):  # the database last: until then this can be repeated
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + ending, damaged + ending)
    os.rename(new, path)
    counts = ", ".join(f"{count} of {table}" for table, count in kept.items() if count)
    complaint = f"{path} is damaged ({why}); it is now {damaged}. Rows carried over: "
    return Store(path), [complaint + (counts or "none")]


def _earlier(path: str) -> int:
    """How many were put aside before."""
    directory, name = os.path.split(path)
    prefix = f"{name}.damaged-"
    numbers = [entry[len(prefix) :] for entry in os.listdir(directory) if entry.startswith(prefix)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)
