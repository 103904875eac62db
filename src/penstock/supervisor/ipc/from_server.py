"""What the server sends to the supervisor, each message a record (pure).

docs/protocol.md says which message answers which.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from .command_spec import CommandSpec
from .message_base import Beat, Count, Flag, JobId, LaterFlag, Message, OfJob, Text, by_kind
from .message_forms import list_of, number, opaque, or_null, signal_number, text
from .message_record import BESIDE, Wire
from .reload_messages import Prepared, Switched


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """The first message. ``beats``: the server sends BEAT, and knows it."""

    kind = "HELLO"
    version: Count
    pid: Count
    beats: LaterFlag = False


@dataclass(frozen=True, slots=True)
class Serving(Message):
    """The server takes calls, so clients can end their jobs again."""

    kind = "SERVING"


@dataclass(frozen=True, slots=True)
class Take(Message):
    """Asks for the next job that an earlier server has started and not released."""

    kind = "TAKE"


@dataclass(frozen=True, slots=True)
class Start(Message):
    """What a client asks for; the supervisor grants it, or not, by its own policy. ``opaque`` comes
    back in HELD, ``policy`` is the hash of the generation by which the server has decided (of the
    policy, from a supervisor of an earlier version), ``audited`` are the replaced files of the
    program that it has recorded in its audit log."""

    kind = "START"
    id: JobId
    opaque: Annotated[str, Wire(opaque)]
    client: Text
    policy: Text
    spec: Annotated[CommandSpec, BESIDE]
    audited: Annotated[tuple[str, ...], Wire(list_of(text), tuple, list, optional=True)] = ()


@dataclass(frozen=True, slots=True)
class Signal(Message):
    """A signal for the job's main process, or for all. ``kill_after_s``, of a stop: its grace in
    seconds, after which the supervisor sends KILL if the server does not."""

    kind = "SIGNAL"
    id: JobId
    signal: Annotated[int, Wire(signal_number)]
    tree: LaterFlag = False
    kill_after_s: Annotated[float | None, Wire(or_null(number), optional=True)] = None


@dataclass(frozen=True, slots=True)
class Pause(Message):
    """Makes all processes of the job stand still, or resumes them."""

    kind = "PAUSE"
    id: JobId
    paused: Flag


class Inspect(OfJob):
    """Which processes are left of the job, and what do they wait for?"""

    __slots__ = ()
    kind = "INSPECT"


class Look(OfJob):
    """Are the job's limits still as they were set? CHANGED comes before the answer if not."""

    __slots__ = ()
    kind = "LOOK"


class CloseInput(OfJob):
    """The job's standard input has ended, so the supervisor closes its copies of the pipe."""

    __slots__ = ()
    kind = "CLOSE_INPUT"


class Kill(OfJob):
    """Kills the whole group, again and again until it is empty."""

    __slots__ = ()
    kind = "KILL"


class Release(OfJob):
    """The end record is durable, so the job may be forgotten; one that still runs is killed."""

    __slots__ = ()
    kind = "RELEASE"


FROM_SERVER: Final = by_kind(
    *(Hello, Serving, Take, Start, Signal, Pause, Inspect, Look),
    *(CloseInput, Kill, Release, Beat, Prepared, Switched),
)
