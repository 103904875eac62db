"""What this host can hold jobs to, for its administrator: found by looking and trying.

``gather`` looks, ``diagnose`` judges what was seen. A finding that is not ``ok`` says what to do.
"""

import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

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
from .job.standard_pipes import PIPE_BYTES
from .policy_checks import disk_warnings
from .startup import possible_jobs
from .storage.project_quota import ProjectQuotas
from .users.command_users import clients_users
from .users.user_checks import find_users, shared_user_warnings
from .users.user_names import User, UserError, resolve_user

FindingState = Literal["ok", "partial", "missing"]

_STATES: Final[dict[str, FindingState]] = {
    "enforced": "ok",
    "partial": "partial",
    "unavailable": "missing",
}
# cgroup.kill came with it; everything else is found by trying.
_OLDEST_KERNEL: Final = (5, 14)
_REMEDIES: Final = {
    "cpu": "mount the cpu controller (cgroup v1) or enable it in cgroup.subtree_control (v2)",
    "memory": "enable the memory controller; some kernels need cgroup_enable=memory at boot",
    "disk_read": "enable the io controller (v2) or blkio (v1)",
    "disk_write": "enable the io controller (v2) or blkio (v1)",
    "processes": "enable the pids controller",
    "output": "report this: penstock holds it by itself",
    "isolation.filesystem": "run penstockd as root with CAP_SYS_ADMIN, on Linux 5.12 or later",
    "isolation.ipc": "run penstockd as root with CAP_SYS_ADMIN",
    "isolation.uts": "run penstockd as root with CAP_SYS_ADMIN",
    "isolation.network": "run penstockd as root with CAP_SYS_ADMIN and CAP_NET_ADMIN",
    "isolation.pid": "run penstockd as root with CAP_SYS_ADMIN",
    "isolation.seccomp": "use a kernel with CONFIG_SECCOMP_FILTER on x86_64 or aarch64",
    "isolation.landlock": "use Linux 6.2 or later with landlock among the kernel's lsm=",
}
_BEST_EFFORT: Final = 'or let classes do without: needs = { %s = "best_effort" }'
_WATCHED: Final = (
    "mount work_root's file system with prjquota (ext4 with -O quota,project, or xfs), so that the "
    'kernel holds it; or let classes accept it: needs = { storage = "watched" }, where a file '
    'system of its own bounds what is taken between two looks; "best_effort" starts jobs without '
    "any"
)
_PARTIAL: Final = (
    'use cgroup v2, or let classes accept it: needs = { disk = "direct_io" } for disk limits, '
    '"best_effort" for others'
)


@dataclass(frozen=True, slots=True)
class Finding:
    """``name`` is that of a limit or isolation, or one of this module. ``remedy`` is "" when ok."""

    name: str
    state: FindingState
    detail: str
    remedy: str = ""


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


def examine_host(config: Config, policy: Policy | None = None) -> list[Finding]:
    """Looks at this host as the one that would run penstockd with this configuration.

    Makes a group and a directory of its own for a moment and changes nothing else. Blocks for
    some tens of milliseconds. Raises OSError if not even that is possible.
    """
    return diagnose(gather(config, policy))


def gather(config: Config, policy: Policy | None) -> Facts:
    """What examine_host sees, without its judgement. Raises as examine_host."""
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


def diagnose(facts: Facts) -> list[Finding]:
    """A finding for each thing that matters, in a fixed order (pure)."""
    return [
        _kernel(facts.kernel),
        _separation(facts),
        _users(facts),
        _found("interpreter", not facts.blocked, facts.interpreter,
               *blocked_way(facts)),
        _found("cgroups", bool(facts.cgroups), facts.cgroups, "no groups can be made",
               "run penstockd as root, with cgroup mounts that it can write"),
        *(_entry(entry) for entry in facts.entries),
        _found("max_jobs", facts.possible_jobs >= facts.max_jobs, str(facts.max_jobs),
               f"RLIMIT_NOFILE of {facts.nofile} admits {facts.possible_jobs} jobs at once, "
               f"not {facts.max_jobs}", "raise LimitNOFILE= or ulimit -Hn, or lower max_jobs"),
        _found("pipes", facts.root or facts.pipe_bytes >= PIPE_BYTES, f"{PIPE_BYTES} bytes",
               f"pipes of jobs hold {facts.pipe_bytes} bytes, so jobs wait for their readers more "
               "often", f"sysctl fs.pipe-max-size={PIPE_BYTES}"),
        *_clients_users(*facts.clients_users),
        *(_doubt(text) for text in facts.doubts),
    ]  # fmt: skip


def blocked_way(facts: Facts) -> tuple[str, str]:
    """What it means that the way is blocked, and what to do."""
    real = os.path.realpath(facts.interpreter)  # of an environment: the Python that made it
    return (
        f"the server's user cannot use {facts.blocked}, which is on the way to Python "
        f"({facts.interpreter}, which is {real}) or to penstock's code "
        f"({', '.join(own_code.DIRECTORIES)})",
        "install both where every user may read and execute them, as by /usr/bin/python3 -m venv "
        "/opt/penstock, whose Python is the system's, and start penstockd from there",
    )


def _users(facts: Facts) -> Finding:
    if facts.users:
        remedy = "correct server_user or the commands' users"
        return Finding("users", "missing", "; ".join(facts.users), remedy)
    if not facts.policy_read:
        detail = "server_user is one; those of the policy's commands were not looked at"
        return Finding("users", "partial", detail, "give examine_host the policy as well")
    return Finding("users", "ok", "as the policy needs them")


def _with_reason(entry: Enforcement, why: str) -> Enforcement:
    if entry.limit not in STORAGE_LIMIT_NAMES:
        return entry
    return replace(entry, detail=f"{entry.detail}; {why}")


def _found(name: str, holds: bool, good: str, bad: str, remedy: str) -> Finding:
    return Finding(name, "ok", good) if holds else Finding(name, "missing", bad, remedy)


def _kernel(release: str) -> Finding:
    numbers = release.split("-")[0].split(".")
    version = tuple(int(number) if number.isdigit() else 0 for number in numbers[:2])
    if version >= _OLDEST_KERNEL:
        return Finding("kernel", "ok", release)
    return Finding("kernel", "partial", f"{release} has no cgroup.kill", "use Linux 5.14 or later")


def _separation(facts: Facts) -> Finding:
    if facts.root:
        return Finding("separation", "ok", "supervisor, server and jobs are users of their own")
    return Finding(
        "separation",
        "missing",
        "without root, jobs run as the server's user and can read and change all that is its own",
        "run penstockd as root",
    )


def _clients_users(actual: str, wrong: str) -> list[Finding]:
    if wrong:
        what, _, remedy = wrong.rpartition("; ")
        return [Finding("job_uids", "missing", what, remedy)]
    return [Finding("job_uids", "ok", actual)] if actual else []


def _doubt(text: str) -> Finding:
    key, _, rest = text.partition(": ")
    what, _, remedy = rest.rpartition("; ")
    return Finding(key, "partial", what, remedy)


def _entry(entry: Enforcement) -> Finding:
    state = _STATES[entry.state]
    detail = " ".join(filter(None, (entry.actual, entry.detail))) or entry.state
    return Finding(entry.limit, state, detail, "" if state == "ok" else remedy_of(entry))


def remedy_of(entry: Enforcement) -> str:
    """What to do about a limit or an isolation that is not enforced."""
    if entry.limit in STORAGE_LIMIT_NAMES:
        return _WATCHED
    if entry.state == "partial":
        return _PARTIAL
    key = "isolation" if entry.limit.startswith("isolation.") else entry.limit
    return f"{_REMEDIES[entry.limit]}; {_BEST_EFFORT % key}"


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
