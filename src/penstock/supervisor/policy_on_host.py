"""What a policy names on this host: users, programs, directories, and what is wrong with them.

A start of penstockd, a reload and ``penstockd check`` ask here, so that what one of them accepts
the others accept. Nothing is changed, and the programs that were opened are the caller's to close.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ..policy.policy_file import Command, Policy
from ..policy.slot_places import leaf_places
from ..policy.slots import PathSlot
from ..policy.toml_tables import dotted
from ..policy.uid_range import UidRange
from .files import executables as exe
from .files.directory_writers import Trusted, trusted_owner
from .files.path_arguments import check_root
from .files.writable_places import check_writable
from .standpoint import Standpoint
from .users.user_checks import FoundUsers, find_users
from .users.user_names import User, UserError


@dataclass(slots=True)
class PolicyOnHost:
    """What was found. ``executables`` are by command, without those that are not good; ``owners``
    by the names in path slots.

    ``mistakes`` are for people, with key and remedy. ``unchecked`` says what this process has no
    right to look at, though penstockd will have it.
    """

    users: FoundUsers
    owners: dict[str, Trusted] = field(default_factory=dict)
    executables: dict[str, exe.Executable] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def close(self) -> None:
        """Closes the programs. May be called again."""
        for executable in self.executables.values():
            executable.close()
        self.executables.clear()


def look_up(
    policy: Policy, uids: UidRange, server_user: User | None, standpoint: Standpoint
) -> PolicyOnHost:
    """Looks up users and groups, opens the programs, and looks at every path.

    May wait for a directory service and for disks. A command without a ``path`` is one whose path
    is a mistake of the file already. Without a ``server_user``, because the configuration is wrong
    about it, users are not looked up.
    """
    found = PolicyOnHost(FoundUsers([]))
    if server_user is not None:
        found.users = find_users(policy, uids, server_user, root=standpoint.root)
        found.mistakes += found.users.mistakes
    for command in policy.commands.values():
        _open_program(command, found, standpoint)
        _look_at_places(command, found, standpoint)
        _look_at_roots(command, uids, found, standpoint)
        if standpoint.root and server_user is not None and not found.users.mistakes:
            _look_at_writable(command, uids, server_user, found, standpoint)
    return found


def _open_program(command: Command, found: PolicyOnHost, standpoint: Standpoint) -> None:
    where = dotted("commands", command.name, "path")
    if not command.path:
        return
    if standpoint.cannot_read(command.path):
        found.unchecked.append(f"{where}: {command.path} cannot be read by this user")
        return
    try:
        found.executables[command.name] = exe.open_executable(command.path, standpoint.owners)
    except exe.ExecutableError as error:
        found.mistakes.append(f"{where}: {error}")


def _look_at_places(command: Command, found: PolicyOnHost, standpoint: Standpoint) -> None:
    """Paths that must be there, as a start would fail otherwise."""
    for key, path, is_there, what in _places(command):
        where = f"{dotted('commands', command.name)}.{key}"
        if standpoint.cannot_see(path):
            found.unchecked.append(f"{where}: {path} cannot be seen by this user")
        elif not is_there(path):
            found.mistakes.append(f"{where}: {path} is {what}; create it")


def _places(command: Command) -> Iterator[tuple[str, str, Callable[[str], bool], str]]:
    if command.workdir is not None:
        yield "workdir", command.workdir, os.path.isdir, "no directory"
    landlock = command.isolation.landlock
    written = landlock.write if landlock is not None else ()
    for path in command.isolation.writable:
        key = "landlock.write" if path in written else "writable"
        yield key, path, os.path.isdir, "no directory"
    for path in landlock.read if landlock is not None else ():
        yield "landlock.read", path, os.path.exists, "not there"


def _look_at_roots(
    command: Command, uids: UidRange, found: PolicyOnHost, standpoint: Standpoint
) -> None:
    """Roots of path slots, and their owners, which must not be a client's own user."""
    arguments = dotted("commands", command.name, "arguments")
    for slot, where in leaf_places(command.grammar.slots, arguments):
        if not isinstance(slot, PathSlot):
            continue
        if any(name not in found.owners for name in slot.owners) and not _know_owners(
            slot, uids, found, where
        ):
            continue
        if standpoint.cannot_see(slot.root):
            found.unchecked.append(f"{where}.root: {slot.root} cannot be seen by this user")
            continue
        owners = [found.owners[name] for name in slot.owners]
        texts = check_root(slot.root, owners, standpoint.trusted)
        found.mistakes += [f"{where}.root: {text}" for text in texts]


def _know_owners(slot: PathSlot, uids: UidRange, found: PolicyOnHost, where: str) -> bool:
    """Looks up the slot's owners; whether all are good."""
    good = True
    for name in slot.owners:
        try:
            owner = trusted_owner(name)
        except UserError as error:
            found.mistakes.append(f"{where}.owners: {error}")
            good = False
            continue
        if any(uid in uids for uid in owner.users):
            found.mistakes.append(
                f"{where}.owners: {name!r} lies in job_uids, which are clients' own; remove it"
            )
            good = False
        else:
            found.owners[name] = owner
    return good


def _look_at_writable(
    command: Command,
    uids: UidRange,
    server_user: User,
    found: PolicyOnHost,
    standpoint: Standpoint,
) -> None:
    """``writable`` places that the users of other jobs could exchange.

    All of job_uids count as such users, whether or not a client has them now.
    """
    if not command.isolation.writable:
        return
    own = found.users.named.get(command.name)
    job_users = found.users.user_ids(uids)
    others = job_users if own is None else job_users.without(own.uid)
    groups = found.users.group_ids(server_user, uids)
    for path in command.isolation.writable:
        if not standpoint.cannot_see(path):
            texts = check_writable(path, others, groups)
            where = dotted("commands", command.name, "writable")
            found.mistakes += [f"{where}: {text}" for text in texts]
