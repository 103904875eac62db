"""Room that the database and its WAL have already: records are written when the disk is full.

The **WAL** has blocks ahead, as a log has (preallocation.py). SQLite overwrites it again and again
from its beginning and keeps its blocks; it deletes it only as the database is closed, and then it
is made again, empty: with blocks, and with a name that the next start need not ask a full disk for.

The **database** would lose blocks beyond its end: SQLite cuts it to its length whenever all of the
WAL has been copied into it. So it has free pages within: rows of a table are made and deleted, and
what comes later takes their pages. One row at a time, as each holds up everything for some
milliseconds.
"""

import contextlib
import os
import sqlite3
from typing import Final

from .output.disk import RealDisk
from .output.preallocation import AHEAD_BYTES, LEAST_LEFT_BYTES, Reserve

# Transactions from one look to the next; each takes some pages.
_LOOK_EVERY: Final = 32
_ROW_BYTES: Final = 1024 * 1024
_ROWS: Final = AHEAD_BYTES // _ROW_BYTES
# So few free bytes: time for more.
_LOW_BYTES: Final = AHEAD_BYTES // 4


class DatabaseReserve:
    """The reserve of one database. Nothing here raises, because a server without a reserve still
    serves: what the disk does not give is not there."""

    def __init__(self, path: str) -> None:
        """``path``: the database's. Before SQLite opens it: it takes the WAL as it finds it."""
        self._wal_path = f"{path}-wal"
        self._disk = RealDisk()
        self._wal = Reserve(self._disk)
        self._db: sqlite3.Connection | None = None
        self._transactions = 0
        self._rows = 0
        self._filling = False
        self._keep_wal()

    def opened(self, db: sqlite3.Connection) -> None:
        """Fills it at once if need be, because no client is served yet. Takes about 0.2 s for a new
        database."""
        self._db = db
        with contextlib.suppress(sqlite3.Error):
            db.execute("DELETE FROM ahead")  # of one that was killed meanwhile
        for _ in range(2 * _ROWS + 2):
            self._look()
            if not self._filling and not self._rows:
                return

    def opened_again(self, db: sqlite3.Connection) -> None:
        """As ``opened``, while clients are served: what it lacks comes later, row by row, so that
        no call of theirs waits for all of it."""
        self._db = db
        self._keep_wal()

    def committed(self) -> None:
        """Counts one transaction more, and looks at the reserve after every _LOOK_EVERY of them."""
        self._transactions += 1
        if self._transactions % _LOOK_EVERY == 0:
            self._look()

    def closed(self) -> None:
        """SQLite has closed the database and deleted its WAL, so the WAL is made again, empty and
        with its blocks."""
        self._db = None
        self._wal = Reserve(self._disk)
        self._keep_wal()

    def _look(self) -> None:
        """One step: a row more, or one less once they are all there or there is no room."""
        self._keep_wal()
        assert self._db is not None
        try:
            if self._rows == 0 and not self._filling:
                self._filling = self._free_bytes(self._db) < _LOW_BYTES and self._has_room()
            elif self._filling and self._rows < _ROWS and self._has_room():
                self._db.execute("INSERT INTO ahead VALUES (zeroblob(?))", (_ROW_BYTES,))
                self._rows += 1
            else:
                self._filling = False
                if self._rows:
                    self._db.execute(
                        "DELETE FROM ahead WHERE rowid = (SELECT max(rowid) FROM ahead)"
                    )
                    self._rows -= 1
        except sqlite3.Error:
            # No room: what rows there are go one by one. Or damage, which is reported by the
            # transaction that needs the page.
            self._filling = False

    @staticmethod
    def _free_bytes(db: sqlite3.Connection) -> int:
        (pages,) = db.execute("PRAGMA freelist_count").fetchone()
        (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(page_bytes)

    def _has_room(self) -> bool:
        try:
            disk = os.statvfs(os.path.dirname(self._wal_path) or ".")
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize >= LEAST_LEFT_BYTES + AHEAD_BYTES

    def _keep_wal(self) -> None:
        if not os.path.exists(self._wal_path.removesuffix("-wal")):
            return  # a WAL without a database
        # Not held open: SQLite may have put another one there. It has no locks that closing a
        # descriptor would drop, unlike the database (fcntl(2)).
        with contextlib.suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._wal_path, flags, 0o600)
            try:
                self._wal.refill(fd, os.fstat(fd).st_size)
            finally:
                os.close(fd)
