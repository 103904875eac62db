"""The rows of the table of changes: their schema, which of them can have been written, and how
the table begins a life (change_table.py says when).

A flipped bit can make a value of another type, and a number that no clock gives. Such rows are as
good as lost, and what a lost row said is not known; so one of them ends the life of the table.
"""

import sqlite3
import time
from typing import Final, Literal, get_args

# The year 2540; or a thousand losses and 2255, which is below 2**53, which JSON's numbers can hold.
_MOST_GIVEN: Final = 2**54
# 25 days, in microseconds.
_AHEAD_A_LOSS: Final = 2**41

What = Literal["running", "paused", "resumed", "stopping", "finished", "removed"]

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS changes (
    sequence INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    job TEXT NOT NULL,
    handle TEXT NOT NULL,
    what TEXT NOT NULL,
    time_ns INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS changes_of_owner ON changes (owner, sequence);
CREATE TABLE IF NOT EXISTS changes_before (owner TEXT PRIMARY KEY, sequence INTEGER NOT NULL);
"""

NEWEST: Final = f"""
SELECT max(
    coalesce((SELECT max(sequence) FROM changes WHERE sequence <= {_MOST_GIVEN}), 0),
    coalesce((SELECT max(sequence) FROM changes_before
        WHERE typeof(sequence) = 'integer' AND sequence <= {_MOST_GIVEN}), 0)
)
"""
"""The query for the greatest number that was given, those left out that damage has made."""

_WHATS: Final = ", ".join(f"'{what}'" for what in get_args(What))
_IS_WHOLE: Final = f"""
SELECT NOT EXISTS (
    SELECT 1 FROM changes WHERE NOT (
        sequence BETWEEN 1 AND {_MOST_GIVEN} AND typeof(time_ns) = 'integer'
        AND typeof(owner) = 'text' AND typeof(job) = 'text' AND typeof(handle) = 'text'
        AND what IN ({_WHATS})
    )
) AND NOT EXISTS (
    SELECT 1 FROM changes_before WHERE NOT (
        typeof(owner) = 'text' AND typeof(sequence) = 'integer' AND sequence > 0
        AND sequence BETWEEN (SELECT sequence FROM changes_before WHERE owner = '')
            AND {_MOST_GIVEN}
    )
) AND (SELECT count(*) FROM changes_before WHERE owner = '') = 1
"""


def are_whole(db: sqlite3.Connection) -> bool:
    """Whether each row is one that can have been written, and each index leads to its rows: some
    80 ms where there are 100,000. A bit of a job's id or handle that has become another is not
    seen. Raises sqlite3.Error."""
    for table in ("changes", "changes_before"):
        (verdict,) = db.execute(f"PRAGMA integrity_check({table})").fetchone()
        if verdict != "ok":
            return False
    return bool(db.execute(_IS_WHOLE).fetchone()[0])


def is_row(sequence: object, owner: object) -> bool:
    """Whether a row with these can have been written."""
    return isinstance(sequence, int) and 0 < sequence <= _MOST_GIVEN and isinstance(owner, str)


def newest_number(db: sqlite3.Connection) -> int:
    """The greatest number that was given; 0 for none."""
    return int(db.execute(NEWEST).fetchone()[0])


def begin_life(db: sqlite3.Connection, *, losses: int = 0, least: int = 0) -> int:
    """Forgets every change, because rows between them may be missing; the number that the table
    begins with. In the caller's transaction, if there is one."""
    begin = max(newest_number(db) + 1, least, clock(losses))
    db.execute("DELETE FROM changes")
    db.execute("DELETE FROM changes_before")
    db.execute("INSERT INTO changes_before VALUES ('', ?)", (begin,))
    return begin


def clock(losses: int) -> int:
    """The number of now, where records were lost so many times."""
    return time.time_ns() // 1000 + losses * _AHEAD_A_LOSS
