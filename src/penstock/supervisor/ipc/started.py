"""What a start became (pure): the one record that supervisor, server and database have of it.

The supervisor fills it in (``job/effective_start.py``) and sends it (STARTED, HELD); a server's
``Job`` holds it, records what of it outlives the process (``jobs/job_rows.py``) and shows it to its
owner (``server/convert.py``). CONTRIBUTING.md says what a new field of a job touches.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Annotated, Any, Final

from ...policy.control_policy import Control, control_of
from ...policy.limit_classes import CHANGED_OUTSIDE, Enforcement, ResourceLimits
from .message_forms import (
    Form,
    above_zero,
    count,
    flag,
    list_of,
    mapping,
    number,
    one_of,
    or_null,
    process_id,
    signal_number,
    text,
)
from .message_record import BESIDE, Wire

# Limits of equal content are kept once, because jobs of a class have the same ones, and they would
# be a good part of what an idle job costs.
_shared_limits = lru_cache(maxsize=256)(ResourceLimits)
_shared_enforcement = lru_cache(maxsize=1024)(Enforcement)

_LIMITS: Final = Form({each.name: or_null(number) for each in fields(ResourceLimits)})
ENFORCEMENT_FORM: Final = list_of(
    Form(
        {each.name: text for each in fields(Enforcement)}
        | {"state": one_of("enforced", "partial", "unavailable")}
    )
)
_CONTROL: Final = Form(
    {
        "stop_signal": signal_number,
        "stop_tree": flag,
        "signals": or_null(list_of(signal_number)),
        "stdin": flag,
    }
)


def _read_limits(told: Mapping[str, Any]) -> ResourceLimits:
    return _shared_limits(**told)


def _read_enforcement(told: Sequence[Mapping[str, Any]]) -> tuple[Enforcement, ...]:
    return tuple(_read_entry(entry) for entry in told)


def _read_entry(told: Mapping[str, Any]) -> Enforcement:
    # An entry that was changed from outside has the moment in it, so it is equal to no other.
    changed = CHANGED_OUTSIDE in told.get("detail", "")
    return Enforcement(**told) if changed else _shared_enforcement(**told)


def _read_usage(told: Mapping[str, str]) -> dict[str, str]:
    return {sys.intern(name): path for name, path in told.items()}


def write_enforcement(entries: Sequence[Enforcement]) -> list[dict[str, object]]:
    """The entries as a message has them."""
    return [entry.fields() for entry in entries]


Limits = Annotated[ResourceLimits, Wire(_LIMITS, _read_limits, ResourceLimits.fields)]
Enforcements = Annotated[
    tuple[Enforcement, ...], Wire(ENFORCEMENT_FORM, _read_enforcement, write_enforcement)
]


@dataclass(frozen=True, slots=True)
class HeldLimits:
    """What the kernel holds now: of the job itself, and of all its client's jobs together, which
    is empty where these are not limited."""

    enforcement: Enforcements
    client_enforcement: Enforcements = ()


@dataclass(frozen=True, slots=True)
class Started:
    """A process that runs inside its group. What has a default is not in each row of the database,
    as it counts only while the process runs, or was not known to an earlier version. A field that
    is added is ``optional`` as well, because an earlier version's supervisor does not send it."""

    pid: Annotated[int, Wire(process_id)]
    start_ticks: Annotated[int, Wire(count)]
    """Field 22 of /proc/<pid>/stat: with the boot id it names the process."""
    started_ns: Annotated[int, Wire(count)]
    """UTC, in nanoseconds since 1970."""
    argv: Annotated[tuple[str, ...], Wire(list_of(text), tuple, list)]
    class_name: Annotated[str, Wire(text, name="class")]
    limits: Limits
    held: Annotated[HeldLimits, BESIDE]
    client_limits: Limits = field(default_factory=ResourceLimits)
    """The limits of all its client's jobs together."""
    timeout_s: Annotated[float | None, Wire(or_null(above_zero))] = None
    """How many seconds it may run; None is no limit."""
    uid: Annotated[int | None, Wire(count)] = None
    """The user it runs as; None where there are no users."""
    grace_s: Annotated[float, Wire(number)] = 0.0
    """Seconds from TERM to KILL, where a stop names none: the command's own."""
    control: Annotated[Control, Wire(_CONTROL, control_of, Control.fields)] = field(
        default_factory=Control
    )
    """How the command is to be stopped and signalled, as its policy has it."""
    usage_files: Annotated[
        Mapping[str, str], Wire(mapping(text), _read_usage, dict, name="usage")
    ] = field(default_factory=dict)
    """What to read for usage, see jobs/usage.py."""


NOT_STARTED: Final = Started(0, 0, 0, (), "", ResourceLimits(), HeldLimits(()))
