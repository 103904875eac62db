"""What this host can hold jobs to, for its administrator: found by looking and trying.

``host_facts.gather`` looks, ``diagnose`` judges what was seen. A finding that is not ``ok`` says
what to do.
"""

import os
from dataclasses import dataclass
from typing import Final, Literal

from ..policy.configuration import Config
from ..policy.limit_classes import STORAGE_LIMIT_NAMES, Enforcement
from ..policy.policy_file import Policy
from . import own_code
from .host_facts import Facts, gather
from .job.standard_pipes import PIPE_BYTES

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


def examine_host(config: Config, policy: Policy | None = None) -> list[Finding]:
    """Looks at this host as the one that would run penstockd with this configuration.

    Makes a group and a directory of its own for a moment and changes nothing else. Blocks for
    some tens of milliseconds. Raises OSError if not even that is possible.
    """
    return diagnose(gather(config, policy))


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
