"""Every message of the supervisor's protocol: what has not its form is none."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from supervisor_end import STARTED, WELCOME, exited

from penstock.policy.control_policy import Control
from penstock.policy.limit_classes import Enforcement, ResourceLimits
from penstock.supervisor.ipc import protocol
from penstock.supervisor.ipc.from_server import FROM_SERVER
from penstock.supervisor.ipc.from_supervisor import FROM_SUPERVISOR
from penstock.supervisor.ipc.protocol import ProtocolError

ID = {"id": "0123456789abcdef" * 2}
LIMITS = dict.fromkeys(ResourceLimits().fields(), 1.5)
HELD_TO = [Enforcement("cpu", "enforced", "50%").fields()]
FULL_START = STARTED | {
    "limits": LIMITS,
    "client_limits": LIMITS,
    "enforcement": HELD_TO,
    "client_enforcement": HELD_TO,
    "uid": 1000,
    "usage": {"cpu.stat": "/sys/fs/cgroup/x"},
    "fds": ["stdout", "kill"],
    "timeout_s": 1.5,
    "control": Control(signals=frozenset({1, 15})).fields(),
}
# One good message of each type, with every field that it can have.
GOOD: dict[str, dict[str, Any]] = {
    "BEAT": {},
    "HELLO": {"version": 1, "pid": 7, "beats": True},
    "SERVING": {},
    "TAKE": {},
    "START": {
        **ID,
        "opaque": "alice",
        "client": "alice",
        "policy": "h",
        "command": "show",
        "arguments": ["file"],
        "env": {"COLUMNS": "80"},
        "timeout_s": 1.5,
        "stdin": True,
        "audited": ["inode 2"],
    },
    "SIGNAL": {**ID, "signal": 15, "tree": True, "kill_after_s": 0.5},
    "PAUSE": {**ID, "paused": True},
    **dict.fromkeys(("INSPECT", "CLOSE_INPUT", "KILL", "RELEASE", "RESUMED"), ID),
    **dict.fromkeys(("LOOK", "LOOKED"), ID),
    "CHANGED": {
        **ID,
        "enforcement": HELD_TO,
        "client_enforcement": HELD_TO,
        "changes": [
            {
                "of": "client",
                "limit": "cpu",
                "file": "cpu.max",
                "found": "max 100000",
                "held": "5000 100000",
                "put_back": True,
            }
        ],
    },
    "WELCOME": {
        **WELCOME,
        "beats": True,
        "settings": "{}",
        "looks": True,
        "limits": HELD_TO,
        "swept": {"jobs": [ID["id"]], "processes": 1, "groups_left": 0},
        "warnings": ["no limits"],
        "userless": {"alice": "job_uids: none is left"},
        "generation": "g",
        "reload": {"asked_by": "SIGHUP", "before": "f"},
        "fds": ["policy", "configuration", "kill"],
    },
    "PREPARE": {
        "number": 1,
        "generation": "g",
        "policy": "h",
        "settings": "{}",
        "asked_by": "SIGHUP",
        "fds": ["policy", "configuration"],
    },
    "PREPARED": {"number": 1, "mistakes": ["[tls] key: /k: No such file"], "warnings": ["w"]},
    "SWITCH": {
        "number": 1,
        "max_jobs": 9,
        "warnings": ["no limits"],
        "userless": {"alice": "job_uids: none is left"},
        "changes": ["client bob is new"],
    },
    "SWITCHED": {"number": 1, "changes": ["one connection has ended"]},
    "ABANDON": {"number": 1, "asked_by": "SIGHUP", "mistakes": ["policy: /p: No such file"]},
    "STARTED": FULL_START,
    "HELD": FULL_START | {"opaque": "alice", "paused": False},
    "NOTHING": {},
    "REFUSED": {**ID, "fault": "denied", "stage": "check", "errno": 0, "message": "no"},
    "REPLACED": {**ID, "files": [{"path": "/bin/x", "before": "inode 1", "now": "inode 2"}]},
    "EXITED": exited(0, rusage={"user_s": 0.5, "system_s": 1}),
    "EMPTIED": {**ID, "killed": 0, "counters": {"cpu_total_s": 0.5, "oom_kills": 1}},
    "KILLED": {**ID, "count": 1},
    "SIGNALED": {**ID, "count": 1},
    "PAUSED": {**ID, "paused": True, "message": ""},
    "INSPECTED": {**ID, "processes": [{"pid": 9, "name": "cat", "state": "D", "wchan": ""}]},
}
MAY_BE_LEFT_OUT = {
    ("HELLO", "beats"),
    ("WELCOME", "beats"),
    ("WELCOME", "settings"),
    ("WELCOME", "looks"),
    ("WELCOME", "userless"),
    ("WELCOME", "generation"),
    ("WELCOME", "reload"),
    ("PREPARED", "warnings"),
    ("SWITCHED", "changes"),
    ("START", "stdin"),
    ("START", "audited"),
    ("SIGNAL", "tree"),
    ("SIGNAL", "kill_after_s"),
}
MAY_BE_NULL = {"timeout_s", "kill_after_s", "status", "signals"}
ALL = FROM_SERVER | FROM_SUPERVISOR
# Of each type one value, and those that are taken for others where nobody looks.
VALUES: list[Any] = [None, True, 1, 0, -1, 1.5, "1", "", [], [1], {}, {"a": 1}, [None], [True]]


def decode(kind: str, about: dict[str, Any]) -> dict[str, Any]:
    kind, found = protocol.decode_fields(json.dumps({"type": kind, **about}).encode(), ALL)
    return {"type": kind, **found}


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is a value in a message, however deep; of a list the first."""
    if way:
        yield way
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*way, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*way, 0))


def at(message: Any, way: tuple[Any, ...]) -> Any:
    for step in way:
        message = message[step]
    return message


def kind_of(value: Any) -> str:
    """What JSON calls it; a whole number may stand for any."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def test_each_type_has_a_form() -> None:
    """And the good ones are taken."""
    assert ALL.keys() == GOOD.keys()
    for kind, about in GOOD.items():
        assert decode(kind, about) == {"type": kind, **about}
    for fault in (
        *(protocol.DENIED, protocol.STALE_POLICY, protocol.EXECUTABLE, protocol.UNENFORCED),
        *(protocol.INVALID, protocol.EXHAUSTED, protocol.FAILED),
    ):
        decode("REFUSED", GOOD["REFUSED"] | {"fault": fault})


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_field_too_few_or_too_many(kind: str) -> None:
    """At any depth where the names are the protocol's."""
    free = {("env",), ("usage",), ("counters",), ("rusage",), ("userless",), ("reload",)}
    for way in [(), *places(GOOD[kind])]:
        if not isinstance(at(GOOD[kind], way), dict) or way in free:
            continue
        more = copy.deepcopy(GOOD[kind])
        at(more, way)["surplus"] = 1
        with pytest.raises(ProtocolError, match=kind):
            decode(kind, more)
        for name in at(GOOD[kind], way):
            less = copy.deepcopy(GOOD[kind])
            del at(less, way)[name]
            if (kind, name) in MAY_BE_LEFT_OUT:
                decode(kind, less)
                continue
            with pytest.raises(ProtocolError, match=kind):
                decode(kind, less)


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_value_of_another_type(kind: str) -> None:
    """At any depth; true is no number, and 1 is not true."""
    for way in places(GOOD[kind]):
        good = at(GOOD[kind], way)
        name = next(step for step in reversed(way) if isinstance(step, str))
        for value in VALUES:
            if kind_of(value) == kind_of(good) or (value is None and name in MAY_BE_NULL):
                continue
            if value is None and name in LIMITS:
                continue
            bad = copy.deepcopy(GOOD[kind])
            at(bad, way[:-1])[way[-1]] = value
            with pytest.raises(ProtocolError, match=kind):
                decode(kind, bad)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        *(("KILL", "id", text) for text in ("0" * 31, "0" * 33, "X" * 32, "A" * 32, "../etc")),
        ("START", "opaque", "é" * 2049),
        ("START", "timeout_s", 0),
        ("START", "timeout_s", -1.5),
        ("START", "timeout_s", 10**400),
        ("SIGNAL", "signal", 0),
        ("SIGNAL", "signal", 65),
        ("SIGNAL", "signal", 1.0),
        ("SIGNAL", "kill_after_s", -1),
        ("HELLO", "version", 1.0),
        ("HELLO", "pid", -7),
        ("KILLED", "count", 1.5),
        ("STARTED", "pid", 1.5),
        ("STARTED", "fds", ["stderr"]),
        ("STARTED", "fds", ["stdout", "stdout"]),
        ("STARTED", "fds", ["stdout", "policy"]),
        ("WELCOME", "fds", ["kill"]),
        ("WELCOME", "mode", "god"),
        ("REFUSED", "fault", "mood"),
        ("EMPTIED", "counters", {"luck": 1}),
        ("EXITED", "rusage", {"luck": 1}),
    ],
)
def test_a_value_that_is_none_of_its_own(kind: str, name: str, value: Any) -> None:
    """Of the right type, and out of its range."""
    with pytest.raises(ProtocolError, match=f"{kind}: {name}"):
        decode(kind, GOOD[kind] | {name: value})


@pytest.mark.parametrize(
    "rest",
    [
        '"type": "SIGNAL"',
        '"signal": 2',
        '"kill_after_s": NaN',
        '"kill_after_s": Infinity',
        '"kill_after_s": 1e999',
    ],
)
def test_what_json_leaves_open(rest: str) -> None:
    """A field that stands twice, and what is no number."""
    good = json.dumps({"type": "SIGNAL", **ID, "signal": 1})
    protocol.decode(good.encode(), ALL)
    with pytest.raises(ProtocolError):
        protocol.decode(f"{good[:-1]}, {rest}}}".encode(), ALL)
