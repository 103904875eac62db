"""Pidfds of processes that may be gone already."""

import errno
import os

from penstock.supervisor.kernel.system_calls import call

# Gone is ESRCH; on Linux 6.1 EINVAL, as long as somebody else holds a pidfd of it.
_GONE = (errno.ESRCH, errno.EINVAL)
_PIDFD_GETFD = 438  # on every architecture


def open_pidfd(pid: int) -> int | None:
    """The caller's to close; None where the process is gone. Raises OSError else."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def copy_descriptor(pid: int, fd: int) -> int:
    """Another descriptor of what that process has open there, by pidfd_getfd(2), which needs the
    right to trace it. The caller's to close. Raises OSError."""
    pidfd = os.pidfd_open(pid)
    try:
        return call(_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)
