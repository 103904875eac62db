"""What is doubtful in a good policy and configuration: shells by accident, shared disks."""

import os

from ..policy.configuration import Config
from ..policy.policy_file import Policy
from ..policy.shells import shell_warning
from ..policy.toml_tables import dotted
from .storage import filesystems


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
