"""From fork to exec: everything a child does before it is the job.

Theory of operation. The supervisor has one thread, so the child of a fork may do anything, unlike a
preexec_fn in a threaded program. It does it in this order, and most places in it are fixed:

1. It leaves what it has inherited, before its groups: a real-time process may not enter one on v1.
2. It is in its groups, born there or by its own write, long before the job's program runs. So that
   program has no instruction outside of its limits, and the supervisor never has to move a process
   that may have forked meanwhile.
3. Where it was not born in the group, it looks whether the supervisor still reads the report. If
   that was killed, the group may have been killed just before this child came into it, and then
   no process would be left to end it.
4. Standard descriptors, session, signals: after this it holds nothing of the supervisor's but the
   executable and the report pipe, both closed by exec.
5. Namespaces and mounts need root, so they come before the user changes; capabilities and
   no_new_privs come with that, so that nothing can bring root back.
6. The working directory is entered with the user's own rights.
7. Landlock, the filter of system calls, the limits of setrlimit(2), exec: each would stop the
   steps before it.

A failing step reports its name and errno through a close-on-exec pipe; end of file on it means that
exec has succeeded. The supervisor polls that pipe, so a step that hangs (an executable on a dead
network mount) stalls only this job.
"""

import ctypes
import errno
import fcntl
import functools
import gc
import os
import select
import signal
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from .. import isolation
from ..isolation import Isolation
from ..kernel.clone3 import CgroupEntrance
from ..kernel.reap import HANDLED, disown, fork
from ..users.user_names import User
from . import rlimits
from .rlimits import Applied

# linux/prctl.h, linux/capability.h
_PR_CAPBSET_DROP: Final = 24
_CAPABILITY_VERSION_3: Final = 0x20080522
_PR_SET_NO_NEW_PRIVS: Final = 38
PR_SET_CHILD_SUBREAPER: Final = 36
_MAX_CAPABILITIES: Final = 64  # kernels know about 41; the rest answers EINVAL

STAGES: Final = (
    *("fork", "cgroup", "stdio", "session", "limits", "user", "capabilities"),
    *("no_new_privs", "directory", "exec"),
    *isolation.STAGES,
)
_REPORT: Final = struct.Struct("BI")  # index of the stage, errno

# Loaded once, before any fork.
_libc = ctypes.CDLL(None, use_errno=True)
# With declared arguments a call of prctl takes half as long, and there are 41 of them.
_drop_from_bounding_set = ctypes.CDLL(None, use_errno=True).prctl
_drop_from_bounding_set.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
# Made before any fork, because in a child each new object is a page to copy.
_CAP_HEADER: Final = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
_CAP_NONE: Final = (ctypes.c_uint32 * 6)()
# The signals that this process or its subreapers handle or ignore, and those that were ignored
# already as they were started.
_NOT_DEFAULT: Final = sorted(
    HANDLED
    | {
        number
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
        if signal.getsignal(number) in (signal.SIG_IGN, signal.default_int_handler)
    }
)


def prctl(option: int, argument: int) -> None:
    """prctl(2) with one argument, for this process. Raises OSError."""
    if _libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@dataclass(frozen=True, slots=True)
class Plan:
    """What a child becomes. Its descriptors stay the caller's to close."""

    executable_fd: int
    argv: Sequence[bytes]
    env: dict[bytes, bytes]
    workdir: str
    user: User | None  # None: the supervisor's own
    entrance: CgroupEntrance
    stdin_fd: int
    stdout_fd: int
    stderr_fd: int
    isolation: Isolation = isolation.NOTHING
    rlimits: Applied = ()  # of rlimits.for_jobs


def decode_report(data: bytes) -> tuple[str, int] | None:
    """Stage and errno of a failed start; None if exec has succeeded (nothing was written)."""
    if len(data) < _REPORT.size:
        return None
    stage, code = _REPORT.unpack_from(data)
    return STAGES[stage], code


def spawn(plan: Plan) -> tuple[int, int]:
    """Forks; the child runs the plan. Returns its pid and the report pipe's read end.

    Raises OSError if the fork itself fails.
    """

    def fork_inside() -> int:
        return fork(plan.entrance.birth_fd)

    report_read, report_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        ready_fd = -1
        if plan.isolation.pids:
            # Its init ends with the group, and is reaped as a stranger.
            pid, ready_fd = isolation.fork_both(fork_inside, lambda: _become_init(plan), disown)
        else:
            pid = fork_inside()
        if pid == 0:
            run_child(plan, report_write, ready_fd)
    except OSError:
        os.close(report_read)
        raise
    finally:
        os.close(report_write)
    return pid, report_read


def _become_init(plan: Plan) -> None:
    """In the init of the job's PID namespace: joins the groups, and drops its rights as a job does.

    Raises OSError.
    """
    for fd in plan.entrance.write_fds:
        os.write(fd, b"0")
    if plan.user is not None:
        drop_bounding_set()
        become(plan.user)
        clear_capabilities()
    no_new_privs()


def run_child(plan: Plan, report_fd: int, ready_fd: int = -1) -> NoReturn:
    """In the child: becomes the job, or reports and ends. Never returns.

    ``ready_fd`` is of the init of its PID namespace, if it has one.
    """
    stage = "fork"

    def at(name: str) -> None:
        nonlocal stage
        stage = name

    # A collection would write into every object, so that the kernel would copy page after page.
    gc.disable()
    try:
        if ready_fd >= 0:
            stage = "pid_namespace"
            isolation.await_init(ready_fd)
        isolation.leave_inherited(at)
        stage = "cgroup"
        for fd in plan.entrance.write_fds:
            os.write(fd, b"0")
        if plan.entrance.birth_fd is None and not _read_by_anybody(report_fd):
            os._exit(127)  # the supervisor died, and the group may have been killed already
        stage = "stdio"
        executable_fd, report_fd = _keep_only(plan, report_fd)
        stage = "session"
        os.setsid()
        reset_signals()
        os.umask(0o022)
        isolation.enter(plan.isolation, at)
        stage = "user"
        if plan.user is not None:
            stage = "capabilities"
            drop_bounding_set()
            stage = "user"
            become(plan.user)
            stage = "capabilities"
            clear_capabilities()
        stage = "no_new_privs"
        no_new_privs()
        stage = "directory"
        os.chdir(plan.workdir)
        isolation.restrict(plan.isolation, at)
        stage = "limits"
        rlimits.apply(plan.rlimits)
        stage = "exec"
        os.execve(executable_fd, list(plan.argv), plan.env)
    except OSError as error:
        os.write(report_fd, _REPORT.pack(STAGES.index(stage), error.errno or 0))
    # The child of a fork must not unwind into the parent's frames; there is no Trio here.
    except BaseException:  # noqa: ASYNC103
        os.write(report_fd, _REPORT.pack(STAGES.index(stage), 0))
    os._exit(127)


def _read_by_anybody(write_fd: int) -> bool:
    poll = select.poll()
    poll.register(write_fd, 0)
    return not poll.poll(0)


def _keep_only(plan: Plan, report_fd: int) -> tuple[int, int]:
    """Puts the planned descriptors at 0 to 2, the executable and the report pipe at 3 and 4, which
    exec closes, and closes all others.

    Everything is first copied above 9, so that no copy overwrites another's source.
    """
    sources = (plan.stdin_fd, plan.stdout_fd, plan.stderr_fd, plan.executable_fd, report_fd)
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in sources]
    for target, copy in enumerate(copies):
        os.dup2(copy, target, inheritable=target <= 2)
    os.closerange(5, os.sysconf("SC_OPEN_MAX"))
    return 3, 4


def reset_signals() -> None:
    """Sets default dispositions and an empty mask; Python itself ignores SIGPIPE and SIGXFSZ.

    Only for signals that are known to differ, because a call for each of 62 would cost a tenth of
    a whole start.
    """
    for number in _NOT_DEFAULT:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


@functools.cache  # what is forked after the first call has none either
def drop_bounding_set() -> None:
    """Empties the bounding set, so that no capability can ever come back, not even by executing a
    file that has some.

    It takes nothing from this process itself. It comes before become, because it needs CAP_SETPCAP.
    Raises OSError where that is missing.
    """
    for capability in range(_MAX_CAPABILITIES):
        if _drop_from_bounding_set(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            if code == errno.EINVAL and capability > 0:
                return  # the kernel knows no more of them
            raise OSError(code, os.strerror(code))


def become(user: User) -> None:
    """Changes user and groups for good. Raises OSError."""
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)


def clear_capabilities() -> None:
    """Empties every set: capset(2). become has emptied all but the inheritable one.

    Raises OSError.
    """
    if _libc.capset(_CAP_HEADER, _CAP_NONE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def no_new_privs() -> None:
    """Sets no_new_privs: from here on exec can only lose rights. Raises OSError."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
