"""What a caller asks for (pure): what is to be run, and what the caller calls it.

Name and labels are the caller's and this library's business alone, so they are recorded and never
sent to the supervisor: it decides by the policy, which knows neither, and one of an earlier version
stays while SIGUSR2 starts a new server, and refuses a START with fields that it does not know.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, NamedTuple

from ..supervisor.ipc.command_spec import CommandSpec
from ..supervisor.ipc.message_forms import mapping, text
from ..supervisor.ipc.message_record import Wire

MAX_LABELS: Final = 16
_MAX_VALUE: Final = 63
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9._-]{0,62}", re.ASCII)
_KEY: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9._/-]{0,62}", re.ASCII)
_SHOWN: Final = 80  # characters of what is wrong


@dataclass(frozen=True, slots=True)
class JobSpec(CommandSpec):
    """What a caller asks for. Of the unfinished jobs of one owner, one has a ``name`` at a time;
    "" is none."""

    name: Annotated[str, Wire(text, optional=True)] = ""
    labels: Annotated[Mapping[str, str], Wire(mapping(text), None, dict, optional=True)] = field(
        default_factory=dict
    )


class Mistake(NamedTuple):
    """Which field has a wrong form, and what is wrong, for its caller."""

    field: str
    message: str


def mistake_in_names(name: str, labels: Mapping[str, str]) -> Mistake | None:
    """What is wrong with a job's name and labels; None if nothing is."""
    if name and not _NAME.fullmatch(name):
        what = f"name is {_shown(name)}"
        return Mistake("name", f"{what}; {_form_of(63, '. _ -')}")
    if len(labels) > MAX_LABELS:
        return Mistake("labels", f"there are {len(labels)} labels; at most {MAX_LABELS} may be")
    for key, value in labels.items():
        if not _KEY.fullmatch(key):
            what = f"a label's key is {_shown(key)}"
            return Mistake("labels", f"{what}; {_form_of(63, '. _ / -')}")
        if len(value) > _MAX_VALUE or not value.isprintable():
            what = f"label {key} is {_shown(value)}"
            return Mistake("labels", f"{what}; at most {_MAX_VALUE} printable characters may be")
    return None


def _form_of(most: int, others: str) -> str:
    return f"write a letter, then letters, digits and any of {others}, at most {most} characters"


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])
