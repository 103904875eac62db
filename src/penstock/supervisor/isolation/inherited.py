"""What a process has of its parent's, past descriptors, user and environment, and must not keep."""

import errno
import os
import resource
from typing import Final

from . import kernel
from .seccomp import MACHINES, denied_numbers

_JOIN_SESSION_KEYRING: Final = 1  # linux/keyctl.h
_OOM_SCORE: Final = "/proc/self/oom_score_adj"


def leave_keyring() -> None:
    """A new session keyring in the place of the parent's: whoever has that one can read the keys
    in it, whatever user he becomes. As root, as others have a quota of them. Raises OSError."""
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        return
    try:
        kernel.call(denied_numbers(machine)["keyctl"], _JOIN_SESSION_KEYRING, None)
    except OSError as error:
        # A kernel without keys, or a container that may use none: then nobody in it can read any.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def leave_priority() -> None:
    """Nothing that an administrator has given the supervisor to be served before jobs: a real-time
    process is held by no CPU limit, and one that the OOM killer spares by no memory limit.
    As root. Raises OSError."""
    if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    for limit in (resource.RLIMIT_RTPRIO, resource.RLIMIT_NICE):
        resource.setrlimit(limit, (0, 0))
    with open(_OOM_SCORE, "rb") as file:
        is_spared = file.read().startswith(b"-")
    if is_spared:  # what makes a process be killed first stays, as it is no advantage
        with open(_OOM_SCORE, "wb", buffering=0) as file:
            file.write(b"0")
