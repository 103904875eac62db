"""WELCOME, with everything that a server begins with (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from .message_base import Count, LaterFlag, Message, Text, Texts
from .message_forms import Form, count, job_id, list_of, mapping, names, one_of, text
from .message_record import Wire
from .started import Enforcements

_FILES: Final = frozenset({"policy", "configuration", "kill"})  # the policy always


@dataclass(frozen=True, slots=True)
class SweptCounts:
    """What an earlier supervisor had left and this one has ended: ids of jobs, the number of
    processes that were killed, and of groups that could not be removed."""

    jobs: tuple[str, ...] = ()
    processes: int = 0
    groups_left: int = 0

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "SweptCounts":
        """The counts of a message that has its form."""
        return cls(tuple(told["jobs"]), told["processes"], told["groups_left"])

    def fields(self) -> dict[str, object]:
        """The fields of its message, as ``read`` takes them."""
        left = {"processes": self.processes, "groups_left": self.groups_left}
        return {"jobs": list(self.jobs), **left}


@dataclass(frozen=True, slots=True)
class Welcome(Message):
    """The answer to HELLO. ``limits`` is what this host can hold; ``fds`` are the bytes of policy
    and configuration in sealed memory files, and what ends all jobs. ``settings`` are those that
    penstockd runs with, as text, so not the protocol's to check. ``userless`` are clients without
    a user, and why. ``generation`` is the hash of both files, ``reload`` the latest one that no
    server has yet said SWITCHED to: who has asked for it, and the hash before."""

    kind = "WELCOME"
    version: Count
    mode: Annotated[str, Wire(one_of("root", "user"))]
    cgroups: Annotated[str, Wire(one_of("v1", "v2", "hybrid", "tree"), name="kind")]
    boot_id: Text
    policy: Text
    limits: Enforcements
    max_jobs: Count
    swept: Annotated[
        SweptCounts,
        Wire(
            Form({"jobs": list_of(job_id), "processes": count, "groups_left": count}),
            SweptCounts.read,
            SweptCounts.fields,
        ),
    ]
    warnings: Texts
    fds: Annotated[tuple[str, ...], Wire(names(_FILES, "policy"), tuple, list)]
    beats: LaterFlag = False
    settings: Annotated[str, Wire(text, optional=True)] = "{}"
    looks: LaterFlag = False
    userless: Annotated[Mapping[str, str], Wire(mapping(text), optional=True)] = field(
        default_factory=dict
    )
    generation: Annotated[str, Wire(text, optional=True)] = ""
    reload: Annotated[
        Mapping[str, str],
        Wire(mapping(text, frozenset({"asked_by", "before"})), optional=True),
    ] = field(default_factory=dict)
