"""Everything that ``penstockd check`` can find out, about the files and about this host.

The supervisor's part is ``supervisor.examination``, which a start and a reload ask, too. The
server's part is in server_check.py. What the host holds is what ``penstockd doctor`` finds, held
against what the policy requires. Warnings are those that penstockd logs as it starts, and some of
what penstockd cannot see.
"""

import os

from ..policy.configuration import Config, read_config
from ..policy.mistakes import unlocated
from ..policy.policy_file import Policy
from ..policy.toml_tables import MAX_FILE_BYTES
from ..supervisor import earlier_server, startup
from ..supervisor.doctor import blocked_way
from ..supervisor.examination import Examined, examine
from ..supervisor.files.script_files import find_scripts
from ..supervisor.host_facts import gather
from ..supervisor.host_needs import unheld
from ..supervisor.ipc.run_directory import LOCK_NAME
from ..supervisor.kernel.bounded_read import read_file
from ..supervisor.policy_checks import policy_warnings
from ..supervisor.standpoint import Standpoint, standpoint_here
from ..supervisor.users.user_checks import shared_user_warnings
from .findings import CheckReport, Findings
from .server_check import check_addresses, check_server, warn_of_ports


def check_files(config_path: str) -> tuple[Examined, CheckReport]:
    """Looks at both files, at all that they name, and at this host. Changes nothing that stays.

    May wait for name services and for disks. For callers with one thread only, because as root it
    looks with the server's user's rights for a moment.
    """
    standpoint = _standpoint(config_path)
    examined = examine(config_path, standpoint=standpoint)
    examined.close()
    report = CheckReport(list(examined.mistakes), [], list(examined.unchecked))
    config, policy = examined.config, examined.policy
    if config is None:
        return examined, report
    of_config = Findings(report, config_path, examined.config_data)
    check_server(config, examined.server_user, of_config, standpoint)
    check_addresses(config, of_config, standpoint)
    lock = os.path.join(config.run_dir, LOCK_NAME)
    # Where the lock cannot be seen, a penstockd that runs cannot be told from another program.
    if not standpoint.cannot_see(lock) and not earlier_server.holder(lock):
        warn_of_ports(config, of_config)
    if standpoint.root:
        paths = map(_first_there, (config_path, config.policy, config.supervisor_dir))
        report.warnings += map(unlocated, startup.replaceable(tuple(paths)))
    if policy is not None:
        of_policy = Findings(report, config.policy, examined.policy_data)
        _warn(policy, of_policy, standpoint)
        if not examined.misread:
            _check_host(config, policy, of_config, of_policy, standpoint)
    return examined, report


def _first_there(path: str) -> str:
    """The path, or the part of it that is the first to be missing."""
    while path and not os.path.exists(os.path.dirname(path)):
        path = os.path.dirname(path)
    return path or "/"


def _standpoint(config_path: str) -> Standpoint:
    """That of the penstockd that would run with this file: root, if it names a ``server_user``."""
    here = standpoint_here()
    if here.root:
        return here
    try:
        config, _ = read_config(read_file(config_path, MAX_FILE_BYTES))
    except OSError:  # examine says so
        return here
    return here if config.server_user is None else Standpoint(0, own=False)


def _warn(policy: Policy, found: Findings, standpoint: Standpoint) -> None:
    found.warn(*policy_warnings(policy))
    if standpoint.root:
        found.warn(*shared_user_warnings(policy))
    for command in policy.commands.values():
        if command.path and not standpoint.cannot_see(command.path):
            found.warn(*find_scripts(command, standpoint.owners)[1])


def _check_host(
    config: Config,
    policy: Policy,
    of_config: Findings,
    of_policy: Findings,
    standpoint: Standpoint,
) -> None:
    """What the kernel of this host holds, against what the policy requires; and room for it."""
    if not standpoint.own:
        of_config.unchecked(
            "limits, isolation and quotas: only root can try what this host holds; run this as root"
        )
        return
    try:
        facts = gather(config, policy)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        of_config.unchecked(f"limits, isolation and quotas: not tried: {where}{error.strerror}")
        return
    of_policy.wrong(*unheld(policy, facts))
    if facts.blocked:
        of_config.of_host("; ".join(blocked_way(facts)))
    # Their file is in supervisor_dir, so a mistake of that would only be said twice.
    if facts.clients_users[1] and not of_config.has("supervisor_dir"):
        of_config.wrong(facts.clients_users[1])
    if facts.possible_jobs < facts.max_jobs:
        of_config.warn(
            f"max_jobs: RLIMIT_NOFILE of {facts.nofile} admits {facts.possible_jobs} jobs at once, "
            f"not {facts.max_jobs}; raise LimitNOFILE= or ulimit -Hn, or lower max_jobs"
        )
    of_config.warn(*(text for text in facts.doubts if not text.startswith("commands.")))
