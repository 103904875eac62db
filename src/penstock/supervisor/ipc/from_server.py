"""What the server sends to the supervisor, each message a record (pure).

docs/protocol.md says what is answered.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from .job_spec import JobSpec
from .message_base import Beat, Count, Flag, JobId, LaterFlag, Message, OfJob, Text, by_kind
from .message_forms import list_of, number, opaque, or_null, signal_number, text
from .message_record import BESIDE, Wire


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """``beats``: it sends BEAT, and knows it."""

    kind = "HELLO"
    version: Count
    pid: Count
    beats: LaterFlag = False


@dataclass(frozen=True, slots=True)
class Serving(Message):
    """It takes calls: jobs have somebody again who can end them."""

    kind = "SERVING"


@dataclass(frozen=True, slots=True)
class Take(Message):
    """The next job of the server before."""

    kind = "TAKE"


@dataclass(frozen=True, slots=True)
class Start(Message):
    """What is asked for; nothing of it is granted yet. ``opaque`` comes back in HELD, ``policy`` is
    the hash of the one that the server has read, ``audited`` are the replaced files of the program
    that it has written down."""

    kind = "START"
    id: JobId
    opaque: Annotated[str, Wire(opaque)]
    client: Text
    policy: Text
    spec: Annotated[JobSpec, BESIDE]
    audited: Annotated[tuple[str, ...], Wire(list_of(text), tuple, list, optional=True)] = ()


@dataclass(frozen=True, slots=True)
class Signal(Message):
    """To the job's main process, or to all. ``kill_after_s``, of a stop: its grace."""

    kind = "SIGNAL"
    id: JobId
    signal: Annotated[int, Wire(signal_number)]
    tree: LaterFlag = False
    kill_after_s: Annotated[float | None, Wire(or_null(number), optional=True)] = None


@dataclass(frozen=True, slots=True)
class Pause(Message):
    """All of it stands still, or runs on."""

    kind = "PAUSE"
    id: JobId
    paused: Flag


class Inspect(OfJob):
    """Who is left of it, and what for?"""

    __slots__ = ()
    kind = "INSPECT"


class Look(OfJob):
    """Are its limits still as they were set?"""

    __slots__ = ()
    kind = "LOOK"


class CloseInput(OfJob):
    """Its standard input has ended."""

    __slots__ = ()
    kind = "CLOSE_INPUT"


class Kill(OfJob):
    """The whole group, until it is empty."""

    __slots__ = ()
    kind = "KILL"


class Release(OfJob):
    """The end record is durable: forget the job."""

    __slots__ = ()
    kind = "RELEASE"


FROM_SERVER: Final = by_kind(
    *(Hello, Serving, Take, Start, Signal, Pause, Inspect, Look),
    *(CloseInput, Kill, Release, Beat),
)
