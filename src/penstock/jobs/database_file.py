"""The file of the records: its directory's lock, its schema, and how it is opened."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from functools import partial
from typing import Final

from .change_rows import SCHEMA as CHANGES
from .change_rows import begin_life
from .job_errors import Unavailable

# For another program's lock as a server starts, because no client waits yet: SQLite's own default.
LOCK_PATIENCE_S: Final = 5.0

_SCHEMA: Final = f"""{CHANGES}
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY,
    sequence INTEGER NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    spec TEXT NOT NULL,
    policy TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('starting', 'running', 'finished')),
    created_ns INTEGER NOT NULL,
    handle TEXT UNIQUE,
    started TEXT,
    stop TEXT,
    end TEXT
);
CREATE TABLE IF NOT EXISTS handles (number INTEGER PRIMARY KEY, next INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS requests (
    owner TEXT NOT NULL,
    request_id TEXT NOT NULL,
    job TEXT NOT NULL REFERENCES jobs (id),
    PRIMARY KEY (owner, request_id)
);
CREATE TABLE IF NOT EXISTS removed (job TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS paused (job TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS strays (job TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS left_out (job TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS ahead (bytes BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS losses (number INTEGER PRIMARY KEY);
"""
# 2: changes. A server of version 1 writes its own number here, and no changes.
_VERSION: Final = 2


@contextlib.contextmanager
def lock_directory(state_dir: str) -> Iterator[None]:
    """Holds the state directory for this process alone, until the block is left; makes it if need
    be. Raises Unavailable at once, instead of waiting, if another process holds it."""
    os.makedirs(state_dir, mode=0o700, exist_ok=True)
    path = os.path.join(state_dir, "lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(
                f"{state_dir} is in use by another server; stop that one first"
            ) from None
        yield
    finally:
        os.close(fd)


def open_database(path: str, *, wait_s: float) -> sqlite3.Connection:
    """Raises sqlite3.Error, also for damage. ``wait_s`` bounds the wait for another program's lock.
    Once it is open no other program can have a lock, and no call waits, because it is the event
    loop that would stand still."""
    db = connect_database(path, wait_s=wait_s)
    # A flipped bit in a text is that row's damage, not an error of the whole query.
    db.text_factory = partial(str, encoding="utf-8", errors="replace")
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        db.executescript(_SCHEMA)
        if db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:  # a write, so only once
            begin_life(db)
            db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("PRAGMA busy_timeout = 0")
    except BaseException:
        db.close()
        raise
    return db


def connect_database(path: str, *, wait_s: float = LOCK_PATIENCE_S) -> sqlite3.Connection:
    """A connection that no other process can share, not even to read, because the index of the WAL
    is in this process's own memory.

    Otherwise it would be in a mapped file. Where no block is left for a page of that (a file system
    with blocks smaller than a page, or one that writes in new places), SIGBUS ends the process.
    """
    db = sqlite3.connect(path, timeout=wait_s, isolation_level=None)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
    except BaseException:
        db.close()
        raise
    return db


def identity_of(path: str) -> tuple[int, int] | None:
    """Device and inode of what stands there; None where nothing does."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
