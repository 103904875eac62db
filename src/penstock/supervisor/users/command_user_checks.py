"""Which users a policy's commands run as, and what is wrong with them: as root, and without."""

import os
from collections.abc import Callable, Container, Mapping
from types import MappingProxyType

from ...policy.policy_file import AUTO, Policy
from ...policy.toml_tables import dotted


def check_mode(
    policy: Policy,
    *,
    root: bool,
    server: tuple[int, int] | None,
    resolve_user: Callable[[str], tuple[int, int, *tuple[object, ...]]],
    uids: Container[int] = (),
    forbidden: Mapping[int, str] = MappingProxyType({}),
) -> list[str]:
    """Mistakes of a good policy on this host: which users its commands run as.

    As root a command's user is its client's own (policy.AUTO), or a named one that is neither root
    nor the server's, in no group of either's, and none of ``uids``, which are clients' own.
    Otherwise nothing can change its user: a command has none, or the one that runs all of this
    (``server``, or the caller's own). ``server`` and what ``resolve_user`` gives of a name or
    number begin with uid and gid; it raises KeyError. ``forbidden`` says of other groups why no job
    may be in them.
    """
    own_uid = os.geteuid() if server is None else server[0]
    mistakes = []
    for command in policy.commands.values():
        where = dotted("commands", command.name, "user")
        if command.groups and not root:
            mistakes.append(
                f"{dotted('commands', command.name, 'groups')}: only root can give groups; remove "
                "the key, or run penstockd as root"
            )
        if command.user == AUTO:
            continue
        try:
            uid, gid = resolve_user(command.user)[:2]
        except KeyError:
            mistakes.append(f"{where}: {command.user!r} does not exist here; create or correct it")
            continue
        if root:
            found = _rights(uid, gid, server) or _taken(uid, gid, uids, forbidden)
            mistakes += [f"{where}: {command.user!r} {text}" for text in found]
        elif uid != own_uid:
            mistakes.append(
                f"{where}: {command.user!r} is not the user that penstockd runs as, and only "
                "root can change it; remove the key, or run penstockd as root"
            )
    return mistakes


def _taken(uid: int, gid: int, uids: Container[int], forbidden: Mapping[int, str]) -> list[str]:
    if uid in uids or gid in uids:
        return ["lies in job_uids, which are clients' own; name another one"]
    if gid in forbidden:
        return [f"has group {gid}, which {forbidden[gid]}; name another one"]
    return []


def _rights(uid: int, gid: int, server: tuple[int, int] | None) -> list[str]:
    """Why the user of a command has too many rights, where penstockd runs as root."""
    server_uid, server_gid = server if server is not None else (None, None)
    if uid == 0:
        return ["is root; name a user without privilege"]
    if uid == server_uid:
        return ["is the server's own user, whose files the command could change; name another one"]
    if gid == 0:
        return ["has root's group; give it a group of its own, or name another one"]
    if gid == server_gid:
        return [
            "has the server's group, which may enter run_dir; give it a group of its own, or name "
            "another one"
        ]
    return []
