"""As which user a command's jobs run: a named one, the client's own, or this process's."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ...policy.configuration import Config
from ...policy.policy_file import AUTO, Command, Policy
from ...policy.uid_range import UidRange
from .accounts import Account, account_of, unlisted
from .client_users import ClientUsers, NoUser
from .id_maps import own_maps
from .user_checks import FoundUsers, new_users, shared_user_warnings, uses_own_users
from .user_names import User
from .user_table import Entries, TableDamaged, UserTable

_MOST_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class CommandUsers:
    """The users of jobs. As root, ``named`` has the user of each command that names one, and
    ``allocated`` those of clients.

    Without root both are empty, because this process cannot change its user. ``groups`` are
    supplementary ones, by command.
    """

    named: Mapping[str, User] = field(default_factory=dict)
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    allocated: ClientUsers | None = None
    _accounts: dict[User | None, Account] = field(default_factory=dict)

    def user_of(self, command: Command, client: str) -> User | None:
        """The user of this client's job; None: it stays that of this process. Raises NoUser."""
        user = self.named.get(command.name)
        if user is None and command.user == AUTO and self.allocated is not None:
            user = self.allocated.user_of(client)
        if user is None:
            return None
        return user._replace(groups=self.groups.get(command.name, ()))

    def account_of(self, command: Command, user: User | None) -> Account:
        """The name of that user. The host's tables are asked once for each named user, because
        they may be a directory service, for which not every start should wait."""
        if user is not None and command.user == AUTO:
            return unlisted(user.uid)
        if user not in self._accounts:
            self._accounts[user] = account_of(user)
        return self._accounts[user]


def open_users(policy: Policy, config: Config, found: FoundUsers, *, root: bool) -> CommandUsers:
    """The users of this policy; reads the table of clients' users, where the policy needs one.

    Raises TableDamaged and OSError.
    """
    clients = open_allocated(policy, config, root=root)
    return CommandUsers(found.named, found.groups, clients)


def open_allocated(
    policy: Policy, config: Config, *, root: bool, entries: Entries | None = None
) -> ClientUsers | None:
    """The users of clients, where the policy needs any. ``entries``: what their table has, if it
    was read already; otherwise raises TableDamaged and OSError."""
    if not root or not uses_own_users(policy):
        return None
    table = UserTable(config.supervisor_dir)
    return ClientUsers(table, config.job_uids, own_maps(), entries)


def allocate_users(users: CommandUsers, policy: Policy) -> list[str]:
    """As ``allocate_new``, before any job runs. Returns warnings, also of clients that share a
    named user, and of processes that run as clients' users already."""
    warnings = shared_user_warnings(policy) if users.named else []
    if users.allocated is not None:
        warnings += strangers_among(users.allocated.uids)
    return warnings + allocate_new(users, policy)


def allocate_new(users: CommandUsers, policy: Policy) -> list[str]:
    """Allocates a user for each client of the policy that needs one and has none, so that no start
    waits for a disk. Takes at most user_table.WRITE_S.

    Returns a warning of clients that get none, whose starts will be refused.
    """
    if users.allocated is not None:
        try:
            users.allocated.allocate(new_users(policy))
        except NoUser as error:
            return [f"{error}. Starts of clients without a user are refused"]
    return []


def userless_clients(users: CommandUsers, policy: Policy) -> dict[str, str]:
    """Clients of the policy that have no user as long as this process lives, and why.

    All their starts of commands without a named user are refused.
    """
    if users.allocated is None:
        return {}
    return users.allocated.never(sorted(policy.clients))


def strangers_among(uids: UidRange) -> list[str]:
    """A warning of processes that run as clients' users before this penstockd has started any.

    The kernel does not tell them from our jobs of that client, so they can signal and read each
    other. It is no mistake, because a process of an earlier life may be slow to die.
    """
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended
            if os.stat(f"/proc/{name}").st_uid in uids:
                found.append(name)
    if not found:
        return []
    more = ", ..." if len(found) > _MOST_SHOWN else ""
    return [
        f"job_uids: processes {', '.join(found[:_MOST_SHOWN])}{more} run as users of {uids} "
        "already, and are none of this penstockd's; give each penstockd on a host its own range"
    ]


def clients_users(policy: Policy, config: Config) -> tuple[str, str]:
    """For doctor, as root: the range with how much of it is given, and what is wrong with it.

    Both are empty where no command needs the range. Writes nothing.
    """
    if not uses_own_users(policy):
        return "", ""
    try:
        clients = ClientUsers(UserTable(config.supervisor_dir), config.job_uids, own_maps())
    except (TableDamaged, OSError) as error:
        return "", str(error)
    return f"{config.job_uids}, {len(clients)} given", clients.missing(new_users(policy))
