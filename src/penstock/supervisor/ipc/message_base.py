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
"""Of a message that an earlier version sends without it."""


def records_wire(form: Check, of: type, most: int | None = None) -> Wire:
    """A list of small records of texts and numbers."""
    names = [each.name for each in fields(of)]
    return Wire(
        list_of(form, most),
        lambda told: tuple(of(**each) for each in told),
        lambda found: [{name: getattr(each, name) for name in names} for each in found],
    )


class Message:
    """``kind`` is its ``type`` in the datagram."""

    __slots__ = ()
    kind: ClassVar[str]


@dataclass(frozen=True, slots=True)
class OfJob(Message):
    """One that says nothing but which job."""

    id: JobId


@dataclass(frozen=True, slots=True)
class OfCount(Message):
    """How many processes of a job were reached."""

    id: JobId
    count: Count


@dataclass(frozen=True, slots=True)
class Beat(Message):
    """Every silence.BEAT_S: who sends it does not stand still."""

    kind = "BEAT"


Kinds = Mapping[str, type[Message]]


def by_kind(*records: type[Message]) -> dict[str, type[Message]]:
    """All that one side sends."""
    return {record.kind: record for record in records}
