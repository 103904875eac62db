"""Another program that wants the records: it gets no lock, and never holds up the event loop."""

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fake_backend import FakeBackend
from walked import SLEEP, managed

from penstock.jobs.job_errors import Unavailable
from penstock.jobs.store import Store


def other(path: Path) -> sqlite3.Connection:
    """Somebody's sqlite3."""
    return sqlite3.connect(path, timeout=0.0, isolation_level=None)


def test_nobody_else_can_lock_them_while_a_server_has_them(tmp_path: Path) -> None:
    """Nor read them: a copy is made of the file of a server that has ended."""
    path = tmp_path / "records"
    store = Store(str(path), keep_reserve=True)
    try:
        somebody = other(path)
        for statement in ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "SELECT * FROM jobs"):
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                somebody.execute(statement)
        somebody.close()
        store.note_loss(1)
    finally:
        store.close()


def test_only_a_start_waits_for_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are opened anew under the running server it fails at once, and the next look at
    them does it."""
    waits: list[float] = []
    connect = sqlite3.connect

    def noting(path: str, **options: Any) -> sqlite3.Connection:
        waits.append(options["timeout"])
        made: sqlite3.Connection = connect(path, **options)
        return made

    monkeypatch.setattr("penstock.jobs.database_file.sqlite3.connect", noting)
    path = tmp_path / "records"
    store = Store(str(path))
    try:
        assert store._db.execute("PRAGMA busy_timeout").fetchone() == (0,)
        os.unlink(path)
        close = store.close

        def close_and_lose() -> None:
            close()
            somebody.append(connect(path, isolation_level=None))
            somebody[0].execute("BEGIN IMMEDIATE")

        somebody: list[sqlite3.Connection] = []
        monkeypatch.setattr(store, "close", close_and_lose)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            store.keep_in_place()
        monkeypatch.undo()
        somebody[0].close()
        store.keep_in_place()
        store.note_loss(1)
        assert waits == [5.0, 0.0]
        assert store._db.execute("PRAGMA busy_timeout").fetchone() == (0,)
    finally:
        store.close()


async def test_request_ids_that_cannot_be_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No bug of ours: a failure that goes away."""

    def locked(self: Store, owner: str, request_id: str) -> str:
        raise sqlite3.OperationalError("database is locked")

    async with managed(tmp_path, FakeBackend()) as manager:
        monkeypatch.setattr(Store, "find_request", locked)
        with pytest.raises(Unavailable):
            await manager.start("alice", SLEEP, request_id="1")
