"""The records of a server that runs: it locks them, so a copy is read."""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from this_run import this_run


@contextlib.contextmanager
def opened_copy(database: Path) -> Iterator[sqlite3.Connection]:
    """Whole if nothing is written meanwhile: SQLite recovers what stands in the WAL alone."""
    with tempfile.TemporaryDirectory(dir=this_run().directory) as directory:
        copy = Path(directory, "db")
        for ending in ("", "-wal"):
            shutil.copyfile(f"{database}{ending}", f"{copy}{ending}")
        with contextlib.closing(sqlite3.connect(copy)) as db:
            yield db
