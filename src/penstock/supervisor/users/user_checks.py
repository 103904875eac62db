"""Which users and groups a policy's commands have on this host, and what is wrong with them."""

import functools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from ...policy.group_policy import check_groups, forbidden_groups, resolve_group
from ...policy.policy_file import AUTO, Policy
from ...policy.toml_tables import dotted
from ...policy.uid_range import JobIds, UidRange
from . import accounts
from .command_user_checks import check_mode
from .user_names import User, UserError, resolve_user


@dataclass(frozen=True, slots=True)
class FoundUsers:
    """What was found. ``named`` and ``groups`` are by command, as CommandUsers takes them; both are
    empty where there are ``mistakes``, and without root."""

    mistakes: list[str]
    named: dict[str, User] = field(default_factory=dict)
    groups: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def user_ids(self, uids: UidRange) -> JobIds:
        """All users that jobs may have."""
        return JobIds(frozenset(user.uid for user in self.named.values()), uids)

    def group_ids(self, server: User, uids: UidRange) -> JobIds:
        """All groups but root's that jobs, or the server, may be in."""
        gids = {server.gid, *(user.gid for user in self.named.values())}
        gids.update(*self.groups.values())
        return JobIds(frozenset(gids - {0}), uids)


def find_users(policy: Policy, uids: UidRange, server: User | None, *, root: bool) -> FoundUsers:
    """Looks up the names of users and groups. May wait for a directory service, so nothing calls it
    in the supervisor's loop."""
    # Each name once, because many commands have the same, and a directory service may be asked.
    resolve = functools.cache(_resolve)
    forbidden = forbidden_groups()
    if server is not None:
        forbidden.setdefault(server.gid, "is the server's, which may enter run_dir")
    mistakes = check_mode(
        policy,
        root=root,
        server=None if server is None else (server.uid, server.gid),
        resolve_user=resolve,
        uids=uids,
        forbidden=forbidden,
    )
    if not root:
        return FoundUsers(mistakes)
    wrong, groups = check_groups(policy, forbidden=forbidden, allocated=uids, resolve=resolve_group)
    mistakes += wrong
    if uses_own_users(policy):
        mistakes += accounts.others_in(uids)
    if mistakes:
        return FoundUsers(mistakes)
    commands = policy.commands.values()
    named = {each.name: resolve(each.user) for each in commands if each.user != AUTO}
    return FoundUsers([], named, groups)


def uses_own_users(policy: Policy) -> bool:
    """Is there a command whose jobs run as a user of their client's own?"""
    return any(command.user == AUTO for command in policy.commands.values())


def new_users(policy: Policy) -> list[str]:
    """The clients that need a user of their own, in a fixed order."""
    own = {name for name, command in policy.commands.items() if command.user == AUTO}
    return sorted(name for name, client in policy.clients.items() if client.commands & own)


def shared_user_warnings(
    policy: Policy, resolve: Callable[[str], tuple[int, int, *tuple[object, ...]]] = resolve_user
) -> list[str]:
    """One line for each named user as which jobs of several clients run, and see each other.

    ``resolve`` is resolve_user; users that it does not find are mistakes elsewhere.
    """
    resolve = functools.cache(resolve)
    by_uid: dict[int, list[str]] = {}
    for command in policy.commands.values():
        if command.user != AUTO:
            try:
                uid = resolve(command.user)[0]
            except (UserError, KeyError):
                continue
            by_uid.setdefault(uid, []).append(command.name)
    warnings = []
    for names in by_uid.values():
        clients = sorted(
            client.id for client in policy.clients.values() if client.commands & set(names)
        )
        seeing = [
            name for name in names if "isolation.pid" not in policy.commands[name].isolation.wanted
        ]
        if len(clients) > 1 and seeing:
            warnings.append(
                f"{dotted('commands', seeing[0], 'user')}: {_listed(clients)} share the user "
                f"{policy.commands[seeing[0]].user!r} in {_listed(seeing)}, so jobs of one client "
                "can signal those of another and read their memory and output; leave 'user' out, "
                "or set pid_namespace = true in each of them"
            )
    return warnings


_MOST_NAMED: Final = 4


def _listed(names: Collection[str]) -> str:
    shown: Iterable[str] = list(names)[:_MOST_NAMED]
    more = len(names) - _MOST_NAMED
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _resolve(name: str) -> User:
    try:
        return resolve_user(name)
    except UserError:
        raise KeyError(name) from None
