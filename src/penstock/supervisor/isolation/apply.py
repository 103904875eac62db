"""Between fork and exec: what the child does with its Isolation. The caller has one thread."""

import os
from collections.abc import Callable
from typing import Final

from ..kernel import system_calls
from . import account_files, inherited, landlock, mount_view, namespaces
from .plan import Isolation, beneath

STAGES: Final = (
    *("inherited", "pid_namespace", "namespaces", "mounts", "network", "landlock", "seccomp"),
)

Stage = Callable[[str], None]


def leave_inherited(stage: Stage) -> None:
    """What a child must not keep; before its groups, as a v1 kernel with real-time groups
    lets no real-time process into one. Raises OSError."""
    stage("inherited")
    if os.geteuid() == 0:
        inherited.leave_keyring()
    inherited.leave_priority()
    inherited.leave_settings()


def enter(isolation: Isolation, stage: Stage) -> None:
    """Before rights are dropped. ``stage`` is told each step. Raises OSError."""
    if isolation.namespaces:
        stage("namespaces")
        system_calls.unshare(isolation.namespaces)
    if isolation.mounts:
        stage("mounts")
        mount_view.enter(
            isolation.writable,
            isolation.visible,
            isolation.private,
            isolation.behind,
            isolation.shm,
            owner=isolation.owner,
            own_proc=isolation.pids,
        )
        # A writable place over it would be the host's.
        own_shm = isolation.shm and not beneath(isolation.shm, isolation.writable)
        account_files.show(isolation.entries, isolation.shm if own_shm else "")
    if isolation.loopback:
        stage("network")
        namespaces.raise_loopback()


def restrict(isolation: Isolation, stage: Stage) -> None:
    """Last before exec, with no_new_privs: the filter would stop what comes before.

    Raises OSError.
    """
    if isolation.landlock:
        stage("landlock")
        landlock.restrict(
            isolation.landlock,
            isolation.landlock_read,
            isolation.landlock_write,
            isolation.landlock_maybe,
        )
    if isolation.seccomp:
        stage("seccomp")
        system_calls.install_filter(isolation.seccomp)
