"""What a process has of its parent's, past descriptors, user and environment, and must not keep."""

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
# linux/prctl.h. The slack is what a process has that nobody has given another.
_PR_SET_TIMERSLACK: Final = 29
_PR_SET_THP_DISABLE: Final = 41
_TIMER_SLACK_NS: Final = 50_000


def leave_keyring() -> None:
    """A new session keyring in the place of the parent's: whoever has that one can read the keys
    in it, whatever user he becomes. As root, as others have a quota of them. Raises OSError."""
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        return
    try:
        system_calls.call(denied_numbers(machine)["keyctl"], _JOIN_SESSION_KEYRING, None)
    except OSError as error:
        # A kernel without keys, or a container that may use none: then nobody in it can read any.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def leave_priority() -> None:
    """The kernel's usual order, whoever has started the supervisor: nice 0, an ordinary scheduling
    policy, disk I/O by that. A real-time process is held by no CPU limit, and one that the OOM
    killer spares by no memory limit.

    Raises OSError if an advantage cannot be given up, which the kernel lets everybody do. What is a
    disadvantage stays where only root may end it: ``kept`` says so.
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
    if is_spared:  # what makes a process be killed first stays, as it is no advantage
        with open(_OOM_SCORE, "wb", buffering=0) as file:
            file.write(b"0")


def leave_settings() -> None:
    """What prctl(2) and personality(2) have set for whoever is started from here, through exec too:
    addresses that are not random (setarch -R), another uname, late timers, no huge pages."""
    system_calls.set_personality(0)
    system_calls.prctl(_PR_SET_TIMERSLACK, _TIMER_SLACK_NS)
    with contextlib.suppress(OSError):  # kernels without huge pages
        system_calls.prctl(_PR_SET_THP_DISABLE, 0)


def kept() -> list[str]:
    """Of this process: what jobs will have of it, as it may not be changed. For people."""
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    complaints = []
    if nice > 0 and not _may_raise_nice():
        complaints.append(
            f"jobs run with nice {nice}, as penstockd does and only root may change; start "
            "penstockd without nice"
        )
    return complaints


def _may_raise_nice() -> bool:
    """capabilities(7): CAP_SYS_NICE; or RLIMIT_NICE of 20, which is nice 0 (setrlimit(2))."""
    if resource.getrlimit(resource.RLIMIT_NICE)[0] >= _RLIMIT_OF_NICE_0:
        return True
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        (effective,) = (line.split()[1] for line in file if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> _CAP_SYS_NICE & 1)


@contextlib.contextmanager
def _unless_less() -> Iterator[None]:
    """SCHED_IDLE is a disadvantage, which without CAP_SYS_NICE not everybody may end."""
    idle = os.sched_getscheduler(0) & ~_RESET_ON_FORK == os.SCHED_IDLE
    try:
        yield
    except PermissionError:
        if not idle:
            raise


def _set_io_priority(value: int) -> None:
    """ioprio_set(2) of this process; 0 is none of its own. Anybody may do that."""
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:
        with contextlib.suppress(OSError):  # a kernel without block devices
            system_calls.call(number, _IOPRIO_WHO_PROCESS, 0, value)
