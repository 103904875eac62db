"""What the supervisor sends to the server, each message a record (pure).

docs/protocol.md says when each is sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from ..cgroups.counters import COUNTED
from .message_base import (
    Beat,
    Count,
    Flag,
    JobId,
    Message,
    OfCount,
    OfJob,
    Text,
    by_kind,
    records_wire,
)
from .message_forms import (
    Form,
    count,
    flag,
    mapping,
    names,
    number,
    one_of,
    opaque,
    or_null,
    text,
)
from .message_record import BESIDE, Wire
from .reload_messages import Abandon, Prepare, Switch
from .started import HeldLimits, Started
from .welcome_message import Welcome

MOST_CHANGES: Final = 32
_MOST_INSPECTED: Final = 32  # inspect_survivors.py reports no more
# Descriptors that a job's message brings; stdout always.
_PIPES: Final = frozenset({"stdout", "stderr", "stdin", "input_read", "input_write", "kill"})
_FAULTS: Final = (
    *("denied", "stale_policy", "executable", "unenforced", "invalid", "exhausted", "failed"),
)


@dataclass(frozen=True, slots=True)
class StartedMessage(Message):
    """The job runs. ``fds`` are its pipes, and a descriptor that ends its group."""

    kind = "STARTED"
    id: JobId
    started: Annotated[Started, BESIDE]
    fds: Annotated[tuple[str, ...], Wire(names(_PIPES, "stdout"), tuple, list)]


@dataclass(frozen=True, slots=True)
class Held(Message):
    """As STARTED, for a job that an earlier server has started."""

    kind = "HELD"
    id: JobId
    started: Annotated[Started, BESIDE]
    opaque: Annotated[str, Wire(opaque)]
    paused: Flag
    fds: Annotated[tuple[str, ...], Wire(names(_PIPES, "stdout"), tuple, list)]


@dataclass(frozen=True, slots=True)
class Nothing(Message):
    """There is no further job to take: the last answer to TAKE."""

    kind = "NOTHING"


@dataclass(frozen=True, slots=True)
class RefusedMessage(Message):
    """Nothing was started. ``fault`` is one of protocol's, ``errno`` 0 if there was none,
    ``message`` for people."""

    kind = "REFUSED"
    id: JobId
    fault: Annotated[str, Wire(one_of(*_FAULTS))]
    stage: Text
    errno: Count
    message: Text


@dataclass(frozen=True, slots=True)
class ReplacedFile:
    """A file of a granted program that took the place of the one that was checked, and passes the
    same checks; ``before`` and ``now`` name both for the audit log."""

    path: str
    before: str
    now: str


@dataclass(frozen=True, slots=True)
class ReplacedMessage(Message):
    """Nothing was started, because these files must be audited before the START is repeated."""

    kind = "REPLACED"
    id: JobId
    files: Annotated[
        tuple[ReplacedFile, ...],
        records_wire(Form(dict.fromkeys(("path", "before", "now"), text)), ReplacedFile),
    ]


@dataclass(frozen=True, slots=True)
class Exited(Message):
    """The main process was reaped; ``status`` is wait(2)'s, None if it cannot be known."""

    kind = "EXITED"
    id: JobId
    status: Annotated[int | None, Wire(or_null(count))]
    timed_out: Flag
    escalated: Flag
    storage_full: Flag
    rusage: Annotated[
        Mapping[str, float], Wire(mapping(number, frozenset({"user_s", "system_s"})))
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Emptied(Message):
    """No process of the job is left; ``counters`` are what the kernel has counted."""

    kind = "EMPTIED"
    id: JobId
    killed: Count
    counters: Annotated[Mapping[str, Any], Wire(mapping(number, frozenset(COUNTED)))]


class Killed(OfCount):
    """KILL was sent to so many processes; EMPTIED follows when none is left."""

    __slots__ = ()
    kind = "KILLED"


class Signaled(OfCount):
    """The signal was sent to so many processes; 0 if none is left."""

    __slots__ = ()
    kind = "SIGNALED"


@dataclass(frozen=True, slots=True)
class Paused(Message):
    """Whether the job is paused now, and why that is not as was asked, for people."""

    kind = "PAUSED"
    id: JobId
    paused: Flag
    message: Text


class Resumed(OfJob):
    """The job was paused, and the supervisor has resumed it so that it can end."""

    __slots__ = ()
    kind = "RESUMED"


class Looked(OfJob):
    """The job's limits were read again; CHANGED has reported before what was not as it was set."""

    __slots__ = ()
    kind = "LOOKED"


@dataclass(frozen=True, slots=True)
class FoundChange:
    """``of`` the job's group or its client's; texts as the kernel has them. ``put_back``: it is as
    it was again."""

    of: Literal["job", "client"]
    limit: str
    file: str
    found: str
    held: str
    put_back: bool


@dataclass(frozen=True, slots=True)
class Changed(Message):
    """Another process has written limits of the job or its client since they were set. ``held`` is
    as it is now; ``changes`` are for the audit log."""

    kind = "CHANGED"
    id: JobId
    held: Annotated[HeldLimits, BESIDE]
    changes: Annotated[
        tuple[FoundChange, ...],
        records_wire(
            Form(
                {
                    "of": one_of("job", "client"),
                    **dict.fromkeys(("limit", "file", "found", "held"), text),
                    "put_back": flag,
                }
            ),
            FoundChange,
            MOST_CHANGES,
        ),
    ]


@dataclass(frozen=True, slots=True)
class Left:
    """A process that is left of a job: ``state`` and ``wchan`` as in proc(5)."""

    pid: int
    name: str
    state: str
    wchan: str

    def __str__(self) -> str:
        where = f" in {self.wchan}" if self.wchan else ""
        return f"{self.pid} ({self.name}, state {self.state}{where})"


@dataclass(frozen=True, slots=True)
class Inspected(Message):
    """The processes that are left of the job, without zombies; at most _MOST_INSPECTED."""

    kind = "INSPECTED"
    id: JobId
    processes: Annotated[
        tuple[Left, ...],
        records_wire(
            Form({"pid": count, "name": text, "state": text, "wchan": text}), Left, _MOST_INSPECTED
        ),
    ]


FROM_SUPERVISOR: Final = by_kind(
    *(Welcome, Held, Nothing, StartedMessage, RefusedMessage, ReplacedMessage, Exited, Emptied),
    *(Killed, Signaled, Paused, Resumed, Inspected, Looked, Changed, Beat),
    *(Prepare, Switch, Abandon),
)
