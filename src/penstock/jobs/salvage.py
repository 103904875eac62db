"""A database that SQLite cannot use any more: put aside, and what is readable carried over."""

import contextlib
import os
import sqlite3
from typing import Final

from .store import Store

# In order: rows of requests refer to jobs.
_TABLES: Final = ("jobs", "handles", "requests")
# Handles that were given may be among what is lost. A number's handles go on far beyond any
# that can have been given, so that none ever names two jobs.
_SUFFIXES_A_LOSS: Final = 1_000_000


def open_store(path: str) -> tuple[Store, list[str]]:
    """The store, and what is to be said about it: nothing if it was whole.

    A damaged one is renamed to ``<path>.damaged-<n>`` and a new one made of the rows that
    can still be read. Raises sqlite3.Error, OSError: the disk is full or refuses.
    """
    losses = _losses(path)
    try:
        return Store(path, first_suffix=_first_suffix(losses)), []
    except sqlite3.OperationalError:
        raise  # locked, full, or not to be opened: another database would not help
    except sqlite3.DatabaseError as error:
        damaged, why = f"{path}.damaged-{losses + 1}", error
    for ending in ("-wal", "-shm", ""):  # the database last: until then this can be repeated
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + ending, damaged + ending)
    store = Store(path, first_suffix=_first_suffix(losses + 1))
    kept = store.copy_from(damaged, _TABLES)
    counts = ", ".join(f"{count} of {table}" for table, count in kept.items())
    return store, [f"{path} is damaged ({why}); it is now {damaged}. Rows carried over: {counts}"]


def _losses(path: str) -> int:
    """How often this has happened before."""
    directory, name = os.path.split(path)
    prefix = f"{name}.damaged-"
    numbers = [entry[len(prefix) :] for entry in os.listdir(directory) if entry.startswith(prefix)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _first_suffix(losses: int) -> int:
    return 1 + losses * _SUFFIXES_A_LOSS
