"""One transaction of the records: all of it is durable as the block is left, or none of it is."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def transaction(
    db: sqlite3.Connection, on_rolled_back: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Commits as the block is left, and undoes everything if the block or the COMMIT raises, after
    calling ``on_rolled_back``. No checkpoint. Raises sqlite3.Error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        on_rolled_back()
        if db.in_transaction:  # otherwise SQLite has done it, as where the disk is full
            db.execute("ROLLBACK")
        raise
