"""What is doubtful in a good policy and configuration: shells by accident, scripts that jobs do not
find, keys that may be in the wrong place, shared disks."""

import os

from ..policy.configuration import Config
from ..policy.policy_file import Policy
from ..policy.shells import shell_warning
from ..policy.toml_tables import dotted
from .files.script_doubts import script_doubts
from .storage import filesystems


def policy_warnings(policy: Policy) -> list[str]:
    """One line for each part of a policy that may not mean what its author thinks."""
    warnings = shell_warnings(policy)
    root = os.geteuid() == 0
    for command in policy.commands.values():
        warnings += script_doubts(command, root=root)
    unsaid = sorted(policy.revoked.clients.difference(policy.stray_on_revoke))
    if unsaid:
        warnings += [
            f"{dotted('clients', name, 'on_revoke')}: counts for {name} alone, and jobs of "
            f"{', '.join(unsaid)} run on, whom [revoked] names; write on_revoke above the first "
            'table, "stop" or "keep"'
            for name in policy.stray_on_revoke
        ]
    return warnings


def shell_warnings(policy: Policy) -> list[str]:
    """One line for each command that gives clients a shell by accident."""
    warnings = []
    for command in policy.commands.values():
        why = shell_warning(
            *(command.path, command.fixed, command.grammar),
            stdin=command.control.stdin,
            resolved=os.path.realpath(command.path),
        )
        if why is not None:
            warnings.append(
                f"{dotted('commands', command.name)}: {why}; use literals and enums, or fix the "
                "script in 'fixed'"
            )
    return warnings


def disk_warnings(config: Config, *, quotas: bool = False) -> list[str]:
    """One line for each place where jobs can take the room that records and output need.

    ``quotas``: the file system of ``work_root`` holds jobs to their bounds (project_quota).
    """
    warnings = []
    if not quotas and filesystems.shared(config.work_root, config.state_dir):
        warnings.append(
            f"work_root: {config.work_root} and state_dir share a file system without quotas: what "
            "jobs take there between two looks is missing for records and output, but for their "
            "reserve; put work_root on a file system of its own, or mount this one with prjquota"
        )
    for key, path in {"state_dir": config.state_dir, "audit_log": config.audit_log}.items():
        kind = filesystems.kind(path)
        if kind in filesystems.NO_RESERVE:
            warnings.append(
                f"{key}: {path} is on {kind}, where no blocks can be kept in reserve for it; "
                "put it on ext4 or xfs"
            )
    return warnings
