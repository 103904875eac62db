"""What can be seen of this host, by looking and by trying, without any judgement: see doctor.py."""

import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..policy.configuration import Config
from ..policy.limit_classes import (
    GROUP_LIMIT_NAMES,
    STORAGE_LIMIT_NAMES,
    Enforcement,
    held_without_groups,
    with_quotas,
)
from ..policy.policy_file import Policy
from . import own_code
from .cgroups import GroupError, block_device, detect
from .cgroups.delegation import DEFAULT_PARENT, DELEGATED
from .files.file_access import files_as
from .isolation_probe import probe
from .policy_checks import disk_warnings
from .startup import possible_jobs
from .storage.project_quota import ProjectQuotas
from .users.command_users import clients_users
from .users.user_checks import find_users, shared_user_warnings
from .users.user_names import User, UserError, resolve_user


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen.

    ``cgroups`` is v1, v2 or hybrid, "" where no groups can be made. ``users`` are mistakes about
    the users that things run as; with ``policy_read`` False it has nothing of those that the policy
    names. ``blocked`` is the first path that stops the server's user on the way to the interpreter
    or to penstock, "" if none does. ``doubts`` are warnings, as policy_checks' disk_warnings.
    ``clients_users`` is what command_users reports of the clients' own users, and what is wrong
    with them; both are "" where there are none.
    """

    root: bool
    kernel: str
    cgroups: str
    entries: tuple[Enforcement, ...]
    users: tuple[str, ...]
    interpreter: str
    blocked: str
    policy_read: bool
    nofile: int
    max_jobs: int
    possible_jobs: int
    pipe_bytes: int
    doubts: tuple[str, ...] = ()
    clients_users: tuple[str, str] = ("", "")


def gather(config: Config, policy: Policy | None) -> Facts:
    """Looks, as the one that would run penstockd with this configuration.

    Makes a group and a directory of its own for a moment and changes nothing else. Blocks for
    some tens of milliseconds. Raises OSError if not even that is possible.
    """
    root = os.geteuid() == 0
    # Where a unit's delegated group is meant, this process is not in that unit. So it tries the
    # default place instead, which the same kernel holds in the same way.
    named = config.cgroup_parent
    above = DEFAULT_PARENT if named in (None, DELEGATED) else named
    disk = block_device(_first_there(config.work_root))
    kind, limits = _cgroups(f"{above}-doctor-{os.getpid()}", disk, root=root)
    scratch = config.work_root if os.access(config.work_root, os.W_OK) else tempfile.gettempdir()
    offers = probe(scratch)
    quotas = ProjectQuotas(_first_there(config.work_root))
    if quotas.missing:
        limits = [_with_reason(entry, quotas.missing) for entry in limits]
    server, users = _server_user(config, root=root)
    shared, own = [], ("", "")
    if policy is not None and not users:
        users = find_users(policy, config.job_uids, server, root=root).mistakes
        if root:
            shared, own = shared_user_warnings(policy), clients_users(policy, config)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with open("/proc/sys/fs/pipe-max-size", encoding="ascii") as file:
        pipe_bytes = int(file.read())
    return Facts(
        root=root,
        kernel=os.uname().release,
        cgroups=kind,
        entries=(*with_quotas(limits, quotas.entries()), *offers.entries.values()),
        users=tuple(users),
        interpreter=sys.executable,
        blocked=_blocked((os.path.realpath(sys.executable), *own_code.DIRECTORIES), server),
        policy_read=policy is not None,
        nofile=hard,
        max_jobs=config.max_jobs,
        possible_jobs=possible_jobs(hard),
        pipe_bytes=pipe_bytes,
        doubts=(*shared, *disk_warnings(config, quotas=not quotas.missing)),
        clients_users=own,
    )


def _with_reason(entry: Enforcement, why: str) -> Enforcement:
    if entry.limit not in STORAGE_LIMIT_NAMES:
        return entry
    return replace(entry, detail=f"{entry.detail}; {why}")


def _first_there(path: str) -> str:
    """The path or, if it is missing, the nearest directory above it, which is on the same disk."""
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    return path


def _cgroups(base: str, disk: str | None, *, root: bool) -> tuple[str, list[Enforcement]]:
    """What groups can hold here, tried in a base group of its own, because that of a penstockd
    that runs must be left alone."""
    try:
        hierarchy = detect(base) if root else None
        why = "no cgroups that can be written" if root else "no root"
    except GroupError as error:
        hierarchy, why = None, str(error)
    if hierarchy is None:
        held = [Enforcement(name, "unavailable", detail=why) for name in GROUP_LIMIT_NAMES]
        return "", held + held_without_groups()
    try:
        return hierarchy.kind, hierarchy.capabilities(disk)
    finally:
        hierarchy.remove_base()


def _server_user(config: Config, *, root: bool) -> tuple[User | None, list[str]]:
    if not root:
        return None, []
    if config.server_user is None:
        return None, ["server_user: is missing"]
    try:
        return resolve_user(config.server_user), []
    except UserError as error:
        return None, [f"server_user: {error}"]


def _blocked(paths: Sequence[str], user: User | None) -> str:
    """The first directory on the way that the user may not enter, or file not execute."""
    with files_as(user):
        for path in paths:
            steps = ["/"]
            for part in path.strip("/").split("/"):
                steps.append(os.path.join(steps[-1], part))
            for step in steps:
                if not os.access(step, os.X_OK, effective_ids=True):
                    return step
    return ""
