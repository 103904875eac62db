"""A group for each client, above those of its jobs: bounds and counts what they use together."""

import hashlib
import os
import re
from dataclasses import dataclass
from typing import Final

from ...policy.limit_classes import ResourceLimits
from .cgroup_mounts import Mounts
from .group_files import GroupError
from .group_limits import GroupLimits
from .life_groups import is_life
from .v1 import V1Limits
from .v2 import V2Limits, enable_controllers

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_OURS: Final = re.compile(
    rf"client-{_NAME.pattern}|id-{_JOB_ID.pattern}|{_JOB_ID.pattern}", re.ASCII
)


def group_name(client_id: str) -> str:
    """The directory of a client: safe for every id, and the same in every life.

    It has a prefix, because ``memory.max`` is a valid id and also a file of every group. Ids that
    are no plain names, such as URIs, are replaced by their SHA-256.
    """
    if _NAME.fullmatch(client_id):
        return f"client-{client_id}"
    digest = hashlib.sha256(client_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"id-{digest[:32]}"


def is_job_id(name: str) -> bool:
    """Whether ``name`` has the form of a job's directory."""
    return _JOB_ID.fullmatch(name) is not None


def is_ours(name: str) -> bool:
    """Whether penstock gives such names: to a life's group, a client's, or a job's without both."""
    return is_life(name) or _OURS.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class ClientTotals:
    """A client, and what its jobs may use together; ``name`` is that of its group."""

    name: str
    limits: ResourceLimits


class ClientGroups:
    """The clients' groups that this process has made. They are kept while it lives.

    So only a client's first job makes its group, and what a client has used can be read at any
    time. There are at most as many as the policy has clients; the next penstockd sweeps them.
    """

    def __init__(self, kind: str, mounts: Mounts, parent: str) -> None:
        self._kind = kind
        self._mounts = mounts
        self._parent = parent
        # By disk as well, because a bandwidth is set when a job first works on a disk.
        self._held: dict[tuple[ClientTotals, str | None], GroupLimits] = {}

    def hold(self, client: ClientTotals, device: str | None) -> GroupLimits:
        """Makes the group if it is not there, and returns its limits as the kernel holds them.

        Raises GroupError. If a limit could not be set, the next call sets it again.
        """
        if (client, device) not in self._held:
            self._make_directories(client.name)
            self._held[client, device] = self._limit(client, device)
        return self._held[client, device]

    def forget(self) -> None:
        """Another process has removed groups, so each is made and limited again when needed."""
        self._held.clear()

    def _make_directories(self, name: str) -> None:
        for root in self._mounts.roots(self._kind):
            path = os.path.join(root + self._parent, name)
            try:
                os.mkdir(path)
            except FileExistsError:
                continue
            except OSError as error:
                raise GroupError(f"making {path}: {error.strerror}") from error

    def _limit(self, client: ClientTotals, device: str | None) -> GroupLimits:
        limits: GroupLimits
        if self._kind == "v2":
            assert self._mounts.v2 is not None  # a v2 host has the v2 mount
            above = self._mounts.v2 + self._parent
            enable_controllers(above, client.name)
            limits = V2Limits(f"{above}/{client.name}", total=True)
        else:
            limits = V1Limits(self._mounts.v1, self._parent, client.name, total=True)
        limits.set(client.limits, device)
        return limits
