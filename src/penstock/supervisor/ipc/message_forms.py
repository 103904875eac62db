"""The form of every message between server and supervisor, both ways (pure).

Each field has its type, and a message has no other fields. What has another form is of a peer that
is broken or was taken over, so nothing of it is obeyed (docs/protocol.md).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from ...policy.limit_classes import Enforcement, ResourceLimits
from ..cgroups.counters import COUNTED

Check = Callable[[Any], bool]

MAX_OPAQUE_BYTES: Final = 4096
MOST_CHANGES: Final = 32
# inspect_survivors.py tells of no more.
MOST_INSPECTED: Final = 32
_HEX: Final = frozenset("0123456789abcdef")
_STATES: Final = frozenset({"enforced", "partial", "unavailable"})
# Descriptors that a job's message brings; stdout always.
_PIPES: Final = frozenset({"stdout", "stderr", "stdin", "input_read", "input_write", "kill"})


def text(value: Any) -> bool:
    """A text."""
    return isinstance(value, str)


def flag(value: Any) -> bool:
    """True or false, and no number."""
    return isinstance(value, bool)


def count(value: Any) -> bool:
    """A whole number from 0, and neither true nor 1.0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def process_id(value: Any) -> bool:
    """A whole number from 1."""
    return count(value) and value > 0


def number(value: Any) -> bool:
    """A finite number from 0, and neither true nor a text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        found = float(value)
    except OverflowError:
        return False
    return math.isfinite(found) and found >= 0


def signal_number(value: Any) -> bool:
    """1 to 64."""
    return count(value) and 1 <= value <= 64


def job_id(value: Any) -> bool:
    """32 digits in lower-case hexadecimal."""
    return isinstance(value, str) and len(value) == 32 and set(value) <= _HEX


def opaque(value: Any) -> bool:
    """A text of at most MAX_OPAQUE_BYTES."""
    return text(value) and len(value.encode("utf-8", "surrogatepass")) <= MAX_OPAQUE_BYTES


def above_zero(value: Any) -> bool:
    """A number, and not 0."""
    return number(value) and value > 0


def or_null(check: Check) -> Check:
    """null, or what the check takes."""
    return lambda value: value is None or check(value)


def one_of(*values: str) -> Check:
    """One of these texts."""
    return lambda value: isinstance(value, str) and value in values


def list_of(check: Check, most: int | None = None) -> Check:
    """A list, each element as the check has it."""
    return lambda value: (
        isinstance(value, list)
        and (most is None or len(value) <= most)
        and all(check(each) for each in value)
    )


def mapping(check: Check, keys: frozenset[str] | None = None) -> Check:
    """An object with any keys, or with some of ``keys``; each value as the check has it."""
    return lambda value: (
        isinstance(value, dict)
        and (keys is None or value.keys() <= keys)
        and all(check(each) for each in value.values())
    )


def names(known: frozenset[str], needed: str) -> Check:
    """A list of different names out of ``known``, ``needed`` among them."""
    return lambda value: (
        list_of(text)(value)
        and len(set(value)) == len(value)
        and needed in value
        and known.issuperset(value)
    )


@dataclass(frozen=True, slots=True)
class Form:
    """Fields by name; those of ``optional`` may be left out, and nothing else may be there."""

    needed: Mapping[str, Check] = field(default_factory=dict)
    optional: Mapping[str, Check] = field(default_factory=dict)

    def __call__(self, value: Any) -> bool:
        return isinstance(value, dict) and self.mistake(value) is None

    def mistake(self, value: Mapping[str, Any]) -> str | None:
        """What is wrong with it, for a log; None if nothing is."""
        for name, check in (*self.needed.items(), *self.optional.items()):
            if name not in value:
                if name in self.needed:
                    return f"{name} is missing"
            elif not check(value[name]):
                return f"{name} has not its form"
        for name in value.keys() - self.needed.keys() - self.optional.keys():
            return f"{name[:64]!r} is no field of it"
        return None


_LIMITS: Final = Form({each.name: or_null(number) for each in fields(ResourceLimits)})
_ENFORCEMENT: Final = list_of(
    Form({each.name: text for each in fields(Enforcement)} | {"state": one_of(*_STATES)})
)
_CONTROL: Final = Form(
    {
        "stop_signal": signal_number,
        "stop_tree": flag,
        "signals": or_null(list_of(signal_number)),
        "stdin": flag,
    }
)
_ID: Final = Form({"id": job_id})
_COUNTED: Final = Form({"id": job_id, "count": count})
_STARTED: Final[Mapping[str, Check]] = {
    "id": job_id,
    "pid": process_id,
    "start_ticks": count,
    "started_ns": count,
    "argv": list_of(text),
    "uid": count,
    "class": text,
    "limits": _LIMITS,
    "enforcement": _ENFORCEMENT,
    "client_limits": _LIMITS,
    "client_enforcement": _ENFORCEMENT,
    "usage": mapping(text),
    "grace_s": number,
    "timeout_s": or_null(above_zero),
    "control": _CONTROL,
    "fds": names(_PIPES, "stdout"),
}
_FAULTS: Final = (
    *("denied", "stale_policy", "executable", "unenforced", "invalid", "exhausted", "failed"),
)

FORMS: Final[Mapping[str, Form]] = {
    # From both.
    "BEAT": Form(),
    # From the server.
    "HELLO": Form({"version": count, "pid": count}, {"beats": flag}),
    "SERVING": Form(),
    "TAKE": Form(),
    "START": Form(
        {
            "id": job_id,
            "opaque": opaque,
            "client": text,
            "policy": text,
            "command": text,
            "arguments": list_of(text),
            "env": mapping(text),
            "timeout_s": or_null(above_zero),
        },
        {"stdin": flag, "audited": list_of(text)},
    ),
    "SIGNAL": Form(
        {"id": job_id, "signal": signal_number},
        {"tree": flag, "kill_after_s": or_null(number)},
    ),
    "PAUSE": Form({"id": job_id, "paused": flag}),
    "INSPECT": _ID,
    "LOOK": _ID,
    "CLOSE_INPUT": _ID,
    "KILL": _ID,
    "RELEASE": _ID,
    # From the supervisor.
    "WELCOME": Form(
        {
            "version": count,
            "mode": one_of("root", "user"),
            "kind": one_of("v1", "v2", "hybrid", "tree"),
            "boot_id": text,
            "policy": text,
            "limits": _ENFORCEMENT,
            "max_jobs": count,
            "swept": Form({"jobs": list_of(job_id), "processes": count, "groups_left": count}),
            "warnings": list_of(text),
            "fds": names(frozenset({"policy", "kill"}), "policy"),
        },
        {"beats": flag, "settings": text, "looks": flag, "userless": mapping(text)},
    ),
    "STARTED": Form(_STARTED),
    "HELD": Form({**_STARTED, "opaque": opaque, "paused": flag}),
    "NOTHING": Form(),
    "REFUSED": Form(
        {"id": job_id, "fault": one_of(*_FAULTS), "stage": text, "errno": count, "message": text}
    ),
    "REPLACED": Form(
        {"id": job_id, "files": list_of(Form(dict.fromkeys(("path", "before", "now"), text)))}
    ),
    "EXITED": Form(
        {
            "id": job_id,
            "status": or_null(count),
            "timed_out": flag,
            "escalated": flag,
            "storage_full": flag,
            "rusage": mapping(number, frozenset({"user_s", "system_s"})),
        }
    ),
    "EMPTIED": Form(
        {"id": job_id, "killed": count, "counters": mapping(number, frozenset(COUNTED))}
    ),
    "KILLED": _COUNTED,
    "SIGNALED": _COUNTED,
    "PAUSED": Form({"id": job_id, "paused": flag, "message": text}),
    "RESUMED": _ID,
    "LOOKED": _ID,
    "CHANGED": Form(
        {
            "id": job_id,
            "enforcement": _ENFORCEMENT,
            "client_enforcement": _ENFORCEMENT,
            "changes": list_of(
                Form(
                    {
                        "of": one_of("job", "client"),
                        **dict.fromkeys(("limit", "file", "found", "held"), text),
                        "put_back": flag,
                    }
                ),
                MOST_CHANGES,
            ),
        }
    ),
    "INSPECTED": Form(
        {
            "id": job_id,
            "processes": list_of(
                Form({"pid": count, "name": text, "state": text, "wchan": text}), MOST_INSPECTED
            ),
        }
    ),
}
