"""A database that SQLite cannot use any more: put aside, and what is readable carried over."""

import contextlib
import os
import sqlite3
from typing import Final

from .store import Store

# In order: rows of requests refer to jobs. No changes: some may be lost, so all watchers must list.
# Nor which jobs are paused: the supervisor knows.
_TABLES: Final = ("jobs", "handles", "removed", "strays", "losses", "requests")
_FILES: Final = ("", "-wal", "-shm")


def open_store(path: str) -> tuple[Store, list[str]]:
    """The store, and complaints for the operator; none if it was whole.

    A damaged one is renamed to ``<path>.damaged-<n>``, once a new one is complete, made of the
    rows that can still be read. Raises sqlite3.Error, OSError: the disk is full or refuses.

    Killed at any step, the next call begins again or completes it. The one step that counts is the
    rename to ``<path>.salvaged-<n>``: before it the damaged database lies there untouched,
    with its WAL, without which it would seem whole and lack its latest rows; after it no code
    reads the damaged one again, and the new one only takes its place.
    """
    complaints = []
    for number in _numbers(path, "salvaged"):
        damaged = _put_in_place(path, number)
        complaints.append(f"{path} was damaged; it is now {damaged}, as a start before this found")
    try:
        return Store(path, keep_reserve=True), complaints
    except sqlite3.OperationalError:
        raise  # locked, full, or not to be opened: another database would not help
    except sqlite3.DatabaseError as error:
        why = str(error)
    number = max(_numbers(path, "damaged"), default=0) + 1
    kept = _salvage(path, f"{path}.new", number)
    os.rename(f"{path}.new", f"{path}.salvaged-{number}")
    damaged = _put_in_place(path, number)
    counts = ", ".join(f"{count} of {table}" for table, count in kept.items() if count)
    complaint = f"{path} is damaged ({why}); it is now {damaged}. Rows carried over: "
    return Store(path, keep_reserve=True), [*complaints, complaint + (counts or "none")]


def _salvage(path: str, new: str, number: int) -> dict[str, int]:
    """Makes the new database, a single file; how many rows of each table it has."""
    for ending in _FILES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new + ending)
    salvaged = Store(new)
    try:
        kept = salvaged.copy_from(path, _TABLES)
        salvaged.note_loss(number)
    finally:
        salvaged.close()
    if os.path.exists(f"{new}-wal"):  # SQLite leaves it where it could not empty it
        raise sqlite3.OperationalError(f"{new} could not be completed; is the disk full?")
    return kept


def _put_in_place(path: str, number: int) -> str:
    """Where the damaged one is then. May be done again if it was not done to its end."""
    damaged = f"{path}.damaged-{number}"
    for ending in _FILES:
        # The new one must not find them, because SQLite would take another's WAL for its own.
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + ending, damaged + ending)
    os.rename(f"{path}.salvaged-{number}", path)
    return damaged


def _numbers(path: str, what: str) -> list[int]:
    """Of the files ``<path>.<what>-<n>``, in order."""
    directory, name = os.path.split(path)
    prefix = f"{name}.{what}-"
    numbers = [entry[len(prefix) :] for entry in os.listdir(directory) if entry.startswith(prefix)]
    return sorted(int(number) for number in numbers if number.isdecimal())
