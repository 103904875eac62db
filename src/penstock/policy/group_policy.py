"""Supplementary groups of jobs: which a command asks for, and which no job may ever be in."""

import grp
from collections.abc import Callable, Container
from typing import Final

from .policy_file import Policy
from .toml_tables import dotted

FORBIDDEN: Final = (
    *("root", "disk", "docker", "shadow", "kmem", "sudo", "wheel", "admin", "lxd", "incus"),
    *("incus-admin", "libvirt", "podman", "staff"),
)
"""A member of one of these is root in two steps, because the group opens raw disks and memory, the
sockets of daemons that start containers and machines as root, password hashes, /usr/local or
sudo."""


def resolve_group(text: str) -> int:
    """The id of a name or a number in decimal. Raises KeyError."""
    return int(text) if text.isdigit() else grp.getgrnam(text).gr_gid


def forbidden_groups() -> dict[int, str]:
    """Why a job may not be in a group, by its id on this host."""
    found = {0: "is root's"}
    for name in FORBIDDEN:
        try:
            gid = grp.getgrnam(name).gr_gid
        except KeyError:
            continue
        found.setdefault(
            gid, f"is {name!r}, whose members can become root or read what only root may"
        )
    return found


def check_groups(
    policy: Policy,
    *,
    forbidden: dict[int, str],
    allocated: Container[int],
    resolve: Callable[[str], int],
) -> tuple[list[str], dict[str, tuple[int, ...]]]:
    """Mistakes in the commands' groups, and ids by command of those that have any.

    ``forbidden`` gives the reason by id; ``allocated`` are clients' own groups, which would let a
    job read another client's files. ``resolve`` raises KeyError for a name that this host lacks.
    """
    mistakes: list[str] = []
    found: dict[str, tuple[int, ...]] = {}
    for command in policy.commands.values():
        gids = []
        for name in command.groups:
            where = f"{dotted('commands', command.name, 'groups')}: {name!r}"
            try:
                gid = resolve(name)
            except KeyError:
                mistakes.append(f"{where} does not exist here; create or correct it")
                continue
            if gid in forbidden:
                mistakes.append(f"{where} {forbidden[gid]}; remove it")
            elif gid in allocated:
                mistakes.append(f"{where} is one of job_uids, a client's own; remove it")
            gids.append(gid)
        if gids:
            found[command.name] = tuple(gids)
    return mistakes, found
