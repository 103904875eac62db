"""A fork whose child is born in a cgroup: clone3(2) with CLONE_INTO_CGROUP, Linux 5.7.

A process that moves itself into a group of the v2 hierarchy has to wait until no processor can be
in the middle of a fork or exit any more: an RCU grace period, 10 ms on an idle host
(cgroup_threadgroup_rwsem in kernel/cgroup/cgroup.c). So a start would take 10 ms longer. A process
that is born in the group was never elsewhere, and the group's limits hold from its first page on.
"""

import ctypes
import errno
import os
import signal
import struct
from typing import Final, NamedTuple

_CLONE3: Final = 435  # on every architecture
_CLONE_INTO_CGROUP: Final = 0x2_0000_0000  # linux/sched.h
# struct clone_args of linux/sched.h: flags, pidfd, child_tid, parent_tid, exit_signal, stack,
# stack_size, tls, set_tid, set_tid_size, cgroup.
_ARGUMENTS: Final = struct.Struct("=11Q")
_NO_DESCRIPTOR: Final = 2**31 - 1  # above every RLIMIT_NOFILE

# PyDLL keeps the interpreter's lock, as os.fork does: the child has no other thread to get it from.
_libc = ctypes.PyDLL(None, use_errno=True)
_syscall: Final = _libc.syscall
_syscall.restype = ctypes.c_long
_python = ctypes.pythonapi
for _hook in (_python.PyOS_BeforeFork, _python.PyOS_AfterFork_Parent, _python.PyOS_AfterFork_Child):
    _hook.restype, _hook.argtypes = None, []


class CgroupEntrance(NamedTuple):
    """How a child gets into its groups.

    It is born in the group of ``birth_fd``, if the kernel can do that; then, as its first step, it
    writes "0" into the files of ``write_fds``, which moves it into the others. Descriptors stay
    their owner's.
    """

    birth_fd: int | None
    write_fds: tuple[int, ...]


NOWHERE: Final = CgroupEntrance(None, ())


def clone_into(directory_fd: int) -> int:
    """As os.fork, with the child in the group whose directory this is.

    Only for a process with one thread, because the system call passes by what the C library does
    for its locks around fork(2). Raises OSError; EAGAIN also means that the group may have no more
    processes.
    """
    arguments = ctypes.create_string_buffer(
        _ARGUMENTS.pack(_CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, directory_fd)
    )
    size = ctypes.c_size_t(_ARGUMENTS.size)
    number = ctypes.c_long(_CLONE3)
    _python.PyOS_BeforeFork()
    pid = _syscall(number, arguments, size)
    if pid == 0:
        _python.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    _python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(code, os.strerror(code))
    return int(pid)


def can_clone_into() -> bool:
    """Does the kernel know this call, and does no container's filter forbid it? Forks nothing.

    It asks with a descriptor that cannot exist, so EBADF means that the kernel has looked for it.
    """
    try:
        clone_into(_NO_DESCRIPTOR)
    except OSError as error:
        return error.errno == errno.EBADF
    raise AssertionError("a group without a directory")
