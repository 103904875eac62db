"""Jobs as rows of the database: each record to its text, and back (pure)."""

import json
from dataclasses import dataclass
from typing import Any, Final

from ..supervisor.ipc.message_record import read_record, write_record
from ..supervisor.ipc.started import Started
from .backends.base import JobSpec
from .end_record import EndRecord

# Of a start, what counts only while its process runs. It is not recorded, because the supervisor
# sends it again to a server that takes the job over.
_PASSING: Final = frozenset({"uid", "usage", "grace_s", "control"})


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One row of jobs. Of ``started`` only what outlives the process is there."""

    id: str
    sequence: int
    owner: str
    spec: JobSpec
    policy: str
    state: str
    handle: str | None
    started: Started | None
    stop: dict[str, Any] | None
    end: EndRecord | None


@dataclass(frozen=True, slots=True)
class DamagedRecord:
    """A row that holds no job any more. ``why`` is for the log."""

    id: str
    why: str


# Of the columns that are taken as they are. One flipped bit makes another type.
_KINDS: Final = (str, int, str, str, str, str, str | None)
# What reading a text raises that is not what was written.
DAMAGE: Final = (ValueError, TypeError, KeyError, AttributeError)


def started_text(started: Started, boot_id: str) -> str:
    """What of a start outlives its process, as JSON."""
    kept = {name: it for name, it in write_record(started).items() if name not in _PASSING}
    class_name = kept.pop("class")
    return json.dumps(kept | {"class_name": class_name, "boot_id": boot_id})


def _started(text: str) -> Started:
    row = json.loads(text)
    # What it lacks is passing, or was not known to the version that wrote it.
    return read_record(Started, row | {"class": row["class_name"]}, complete=False)


def read_row(row: tuple[Any, ...]) -> JobRecord:
    """The record of a row of ``id, sequence, owner, spec, policy, state, handle, started, stop,
    end``. Raises what is in DAMAGE."""
    for value, kind in zip(row[:7], _KINDS, strict=True):
        if not isinstance(value, kind):
            raise TypeError(f"{value!r} stands in its row")
    return JobRecord(
        id=row[0],
        sequence=row[1],
        owner=row[2],
        spec=_spec(row[3]),
        policy=row[4],
        state=row[5],
        handle=row[6],
        started=None if row[7] is None else _started(row[7]),
        stop=None if row[8] is None else json.loads(row[8]),
        end=None if row[9] is None else EndRecord.from_json(row[9]),
    )


def spec_text(spec: JobSpec) -> str:
    """What the caller asked for, as JSON with environment and labels in order."""
    env, labels = sorted(spec.env.items()), sorted(spec.labels.items())
    return json.dumps(write_record(spec) | {"env": dict(env), "labels": dict(labels)})


def _spec(text: str) -> JobSpec:
    return read_record(JobSpec, json.loads(text))
