"""The files of a reload as a child of the supervisor has read them, and on their way to it.

The child examines everything (examination.py), because it may have to wait for disks and directory
services. What it found goes to the supervisor as bytes and open descriptors: the very bytes that
were examined, the policy in them, the programs that were opened, and what was looked up, so that
nothing is asked, or parsed in the loop, a second time.
"""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..policy.addresses import Address, parse_address
from ..policy.configuration import Config, parse_config
from ..policy.generation_hash import generation_hash
from ..policy.mistakes import located
from ..policy.policy_changes import policy_changes
from ..policy.policy_file import Policy
from ..policy.settings_in_force import in_force, settings_text
from . import policy_handover
from .client_listeners import Listeners, bind, unused
from .examination import examine
from .files.directory_writers import Trusted
from .files.executables import Executable
from .files.program_files import ProgramFiles
from .files.script_files import ScriptFile
from .ipc.reload_messages import RELOAD_FILES, Prepare
from .policy_checks import disk_warnings, policy_warnings
from .policy_on_host import PolicyOnHost
from .startup import make_audit_log, replaceable
from .users.accounts import Account, account_of
from .users.user_checks import FoundUsers, shared_user_warnings, uses_own_users
from .users.user_names import User
from .users.user_table import TableDamaged, UserTable


@dataclass(slots=True)
class FilesRead:
    """Good files, and what they name on this host. ``config`` is the file's; ``effective`` is what
    is in force once these are: with the running values of what needs a restart."""

    config_data: bytes
    policy_data: bytes
    config: Config
    effective: Config
    policy: Policy
    on_host: PolicyOnHost
    scripts: dict[str, list[ScriptFile]]
    accounts: dict[User | None, Account]
    warnings: list[str]
    sockets: dict[Address, socket.socket]
    """Bound to addresses that clients could not connect to so far."""
    client_users: list[tuple[int, str]]
    """What the table of clients' users has, if it was read."""
    policy_changes: list[str]
    """What this policy grants, or refuses, that the one before did not."""

    @property
    def generation(self) -> str:
        """The hash that names them."""
        return generation_hash(self.config_data, self.policy_data)

    def offer(self, number: int, asked_by: str) -> tuple[Prepare, dict[str, bytes]]:
        """The PREPARE for a server, and the bytes of its files by their names."""
        message = Prepare(
            number=number,
            generation=self.generation,
            policy=self.policy.hash,
            settings=settings_text(self.effective),
            asked_by=asked_by,
            fds=RELOAD_FILES,
        )
        return message, {"policy": self.policy_data, "configuration": self.config_data}

    def programs(self) -> ProgramFiles:
        """The programs, whose descriptors are the caller's from now on."""
        executables, self.on_host.executables = self.on_host.executables, {}
        return ProgramFiles(executables, frozenset({0, os.geteuid()}), self.scripts)

    def take_sockets(self) -> dict[Address, socket.socket]:
        """The sockets, which are the caller's from now on."""
        sockets, self.sockets = self.sockets, {}
        return sockets

    def close(self) -> None:
        """Closes programs and sockets, unless they were taken."""
        self.on_host.close()
        for each in self.take_sockets().values():
            each.close()


def read_files(
    config_path: str,
    running: Config,
    before: Policy,
    listeners: Listeners,
    *,
    quotas: bool,
    client_users: bool,
) -> tuple[bytes, Sequence[int]]:
    """In the child: what ``files_read`` makes a FilesRead of. May wait for long.

    ``running`` and ``before`` are in force. ``quotas``: the file system of ``work_root`` holds jobs
    to their bounds. ``client_users``: the table of clients' users is to be read where the policy
    needs it, as it was not so far.
    """
    examined = examine(config_path, running=running)
    mistakes = [str(each) for each in examined.mistakes]
    named = () if examined.config is None or listeners.handed else examined.config.listen
    missing = listeners.missing(named)
    sockets, wrong = bind(missing, later=True)
    users = list[tuple[int, str]]()
    if client_users and examined.policy is not None and uses_own_users(examined.policy):
        users, texts = _table(running.supervisor_dir)
        wrong += texts
    if mistakes or wrong:
        mistakes += map(str, located(config_path, examined.config_data, wrong))
        return json.dumps({"mistakes": mistakes}).encode(), ()
    config, policy, on_host, user = examined.good()
    try:
        # As at a start, because the next server could not make it where only root may write.
        make_audit_log(in_force(config, running), user)
    except OSError as error:
        text = f"audit_log: {config.audit_log}: {error.strerror}; name another one"
        mistakes += map(str, located(config_path, examined.config_data, [text]))
        return json.dumps({"mistakes": mistakes}).encode(), ()
    owners = frozenset({0, os.geteuid()})
    programs = ProgramFiles(on_host.executables, owners)
    warnings = policy_warnings(policy) + programs.add_scripts(policy)
    warnings += disk_warnings(in_force(config, running), quotas=quotas)
    if listeners.handed:
        warnings += unused(config, [str(each) for each in listeners.addresses])
    if os.geteuid() == 0:
        warnings += replaceable((config_path, config.policy, running.supervisor_dir))
        warnings += shared_user_warnings(policy)
    found = {
        "policy_bytes": len(examined.policy_data),
        "config_bytes": len(examined.config_data),
        **_of_host(on_host),
        "scripts": {
            name: [[each.path, each.identity] for each in scripts]
            for name, scripts in programs.scripts.items()
        },
        "accounts": _accounts(on_host.users),
        "warnings": warnings,
        "listen": [str(each) for each in missing],
        "client_users": users,
        "policy_changes": policy_changes(before, policy),
    }
    head = json.dumps(found).encode()
    files = [each.fd for each in on_host.executables.values()]
    files += [each.detach() for each in sockets]  # so that they stay open until they are sent
    data = b"%d\n" % len(head) + head + examined.policy_data + examined.config_data
    return data + policy_handover.written(policy), files


def _table(directory: str) -> tuple[list[tuple[int, str]], list[str]]:
    """The table of clients' users, and what is wrong with it."""
    try:
        return UserTable(directory).read(), []
    except TableDamaged as error:
        return [], [str(error)]
    except OSError as error:
        text = f"supervisor_dir: {error.filename}: {error.strerror}; correct it, or mount its disk"
        return [], [text]


def _of_host(on_host: PolicyOnHost) -> dict[str, object]:
    return {
        "executables": {
            name: [each.path, each.identity] for name, each in on_host.executables.items()
        },
        "named": on_host.users.named,
        "groups": on_host.users.groups,
        "owners": {
            name: [sorted(each.users), sorted(each.groups)] for name, each in on_host.owners.items()
        },
    }


def _accounts(users: FoundUsers) -> list[tuple[User, Account]]:
    """The names of all named users, each with its command's groups, as jobs have them."""
    found = {
        user._replace(groups=users.groups.get(name, ())): None for name, user in users.named.items()
    }
    return [(user, account_of(user)) for user in found]


def files_read(data: bytes, descriptors: Sequence[int], running: Config) -> FilesRead | list[str]:
    """What the child has found, or the mistakes for which there is nothing.

    ``descriptors`` are closed or are the FilesRead's from then on.
    """
    if data.startswith(b"{"):
        mistakes: list[str] = json.loads(data)["mistakes"]
        return mistakes
    length, _, rest = data.partition(b"\n")
    found: dict[str, Any] = json.loads(rest[: int(length)])
    files = rest[int(length) :]
    behind_policy = found["policy_bytes"]
    behind_config = behind_policy + found["config_bytes"]
    policy_data, config_data = files[:behind_policy], files[behind_policy:behind_config]
    config = parse_config(config_data)
    named = {name: _user(told) for name, told in found["named"].items()}
    groups = {name: tuple(gids) for name, gids in found["groups"].items()}
    executables = {
        name: Executable(path, fd, tuple(identity))
        for (name, (path, identity)), fd in zip(
            found["executables"].items(), descriptors, strict=False
        )
    }
    bound = descriptors[len(executables) :]
    sockets = {
        parse_address(text): socket.socket(fileno=fd)
        for text, fd in zip(found["listen"], bound, strict=True)
    }
    owners = {
        name: Trusted(frozenset(users), frozenset(gids))
        for name, (users, gids) in found["owners"].items()
    }
    return FilesRead(
        config_data=config_data,
        policy_data=policy_data,
        config=config,
        effective=in_force(config, running),
        policy=policy_handover.read(files[behind_config:]),
        on_host=PolicyOnHost(FoundUsers([], named, groups), owners, executables),
        scripts={
            name: [ScriptFile(path, tuple(identity)) for path, identity in scripts]
            for name, scripts in found["scripts"].items()
        },
        accounts={_user(user): Account(*account) for user, account in found["accounts"]},
        warnings=found["warnings"],
        sockets=sockets,
        client_users=[(uid, client) for uid, client in found["client_users"]],
        policy_changes=found["policy_changes"],
    )


def _user(told: Sequence[Any]) -> User:
    uid, gid, groups = told
    return User(uid, gid, tuple(groups))
