"""What messages of both directions have in common (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

from .message_forms import Check, count, flag, job_id, list_of, text
from .message_record import Wire

Text = Annotated[str, Wire(text)]
Flag = Annotated[bool, Wire(flag)]
Count = Annotated[int, Wire(count)]
JobId = Annotated[str, Wire(job_id)]
Texts = Annotated[tuple[str, ...], Wire(list_of(text), tuple, list)]
LaterFlag = Annotated[bool, Wire(flag, optional=True)]
"""For a field that an earlier version leaves out of its message."""


def records_wire(form: Check, of: type, most: int | None = None) -> Wire:
    """How a list of small records of texts and numbers stands in a message."""
    names = [each.name for each in fields(of)]
    return Wire(
        list_of(form, most),
        lambda told: tuple(of(**each) for each in told),
        lambda found: [{name: getattr(each, name) for name in names} for each in found],
    )


class Message:
    """A record that is sent. ``kind`` is its ``type`` in the datagram."""

    __slots__ = ()
    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class OfJob(Message):
    """A message that only names a job."""

    id: JobId


@dataclass(frozen=True, slots=True)
class OfCount(Message):
    """An answer that says how many processes of a job were reached."""

    id: JobId
    count: Count


@dataclass(frozen=True, slots=True)
class Beat(Message):
    """Sent every silence.BEAT_S, so that the peer sees that its sender does not stand still."""

    kind = "BEAT"


Kinds = Mapping[str, type[Message]]


def by_kind(*records: type[Message]) -> dict[str, type[Message]]:
    """Messages by ``kind``, for ``protocol.decode``."""
    return {record.kind: record for record in records}
