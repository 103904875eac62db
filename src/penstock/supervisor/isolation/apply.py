"""Between fork and exec: what the child does with its Isolation.

Three steps, because each needs what the next takes away: ``leave_inherited`` before the child joins
its groups, ``enter`` while it still has root, ``restrict`` after everything else. The process has
one thread.
"""

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
    """Gives up what the child has of its parent and must not keep. Raises OSError.

    It comes before the child joins its groups, because a v1 kernel with real-time groups lets no
    real-time process into one.
    """
    stage("inherited")
    if os.geteuid() == 0:
        inherited.leave_keyring()
    inherited.leave_priority()
    inherited.leave_settings()


def enter(isolation: Isolation, stage: Stage) -> None:
    """Enters namespaces and makes the job's view, which needs root. Raises OSError.

    ``stage`` is called with the name of each step, so that a failure can be named.
    """
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
        # The policy may have made the host's directory writable there, which is not ours to use.
        own_shm = isolation.shm and not beneath(isolation.shm, isolation.writable)
        account_files.show(isolation.entries, isolation.shm if own_shm else "")
    if isolation.loopback:
        stage("network")
        namespaces.raise_loopback()


def restrict(isolation: Isolation, stage: Stage) -> None:
    """Installs Landlock and the filter of system calls. Needs no_new_privs. Raises OSError.

    It comes last, because the filter would refuse the steps before it.
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
