"""What a job's process inherits, besides descriptors, user and environment, and must not keep.

Session keyring, priorities, the OOM killer's preference and settings of prctl(2) all survive exec.
The shell or service manager that started penstockd has set them for itself; a job must be the same
whichever it was.
"""

import contextlib
import errno
import os
import resource
from collections.abc import Iterator
from typing import Final

from ..kernel import system_calls
from .seccomp import MACHINES, denied_numbers

_JOIN_SESSION_KEYRING: Final = 1  # linux/keyctl.h
_OOM_SCORE: Final = "/proc/self/oom_score_adj"
_CAP_SYS_NICE: Final = 23  # linux/capability.h
_RLIMIT_OF_NICE_0: Final = 20
_RESET_ON_FORK: Final = 0x4000_0000  # SCHED_RESET_ON_FORK of linux/sched.h, beside the policy
# asm/unistd_64.h and asm-generic/unistd.h; linux/ioprio.h
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
_IOPRIO_WHO_PROCESS: Final = 1
# linux/prctl.h. The slack is the kernel's default.
_PR_SET_TIMERSLACK: Final = 29
_PR_SET_THP_DISABLE: Final = 41
_TIMER_SLACK_NS: Final = 50_000


def leave_keyring() -> None:
    """Takes a new session keyring in place of the parent's, because a process that has that one can
    read its keys, whatever user it becomes. For root, as other users have a quota of keyrings.

    Raises OSError.
    """
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        return
    try:
        system_calls.call(denied_numbers(machine)["keyctl"], _JOIN_SESSION_KEYRING, None)
    except OSError as error:
        # A kernel without keys, or a container that may use none: no process in it can read any.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def leave_priority() -> None:
    """Returns to the kernel's default order: nice 0, an ordinary scheduling policy, disk I/O by
    that, and no protection from the OOM killer.

    Otherwise no CPU limit would hold a real-time process, and no memory limit one that the OOM
    killer spares. Raises OSError if an advantage cannot be given up, which the kernel lets every
    process do. A disadvantage stays where only root may end it: ``kept`` reports it.
    """
    with _unless_less():
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    if nice < 0 or (nice > 0 and _may_raise_nice()):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    _set_io_priority(0)
    with open(_OOM_SCORE, "rb") as file:
        is_spared = file.read().startswith(b"-")
    if is_spared:  # a score that makes it be killed first stays, because that is no advantage
        with open(_OOM_SCORE, "wb", buffering=0) as file:
            file.write(b"0")


def leave_settings() -> None:
    """Resets what prctl(2) and personality(2) have set, which exec keeps: addresses that are not
    random (setarch -R), another uname, late timers, no huge pages."""
    system_calls.set_personality(0)
    system_calls.prctl(_PR_SET_TIMERSLACK, _TIMER_SLACK_NS)
    with contextlib.suppress(OSError):  # kernels without huge pages
        system_calls.prctl(_PR_SET_THP_DISABLE, 0)


def kept() -> list[str]:
    """Warnings of what jobs will have of this process, because it may not change it."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    complaints = []
    if nice > 0 and not _may_raise_nice():
        complaints.append(
            f"jobs run with nice {nice}, as penstockd does and only root may change; start "
            "penstockd without nice"
        )
    return complaints


def _may_raise_nice() -> bool:
    """Has it CAP_SYS_NICE (capabilities(7)), or RLIMIT_NICE of 20, which is nice 0?"""
    if resource.getrlimit(resource.RLIMIT_NICE)[0] >= _RLIMIT_OF_NICE_0:
        return True
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        (effective,) = (line.split()[1] for line in file if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_SYS_NICE & 1)


@contextlib.contextmanager
def _unless_less() -> Iterator[None]:
    """Ignores a PermissionError of a process with SCHED_IDLE: that is a disadvantage, and to end it
    may need CAP_SYS_NICE."""
    idle = os.sched_getscheduler(0) & ~_RESET_ON_FORK == os.SCHED_IDLE
    try:
        yield
    except PermissionError:
        if not idle:
            raise


def _set_io_priority(value: int) -> None:
    """ioprio_set(2) of this process. 0 means none of its own, which every process may set."""
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        with contextlib.suppress(OSError):  # a kernel without block devices
            system_calls.call(number, _IOPRIO_WHO_PROCESS, 0, value)
