"""Pidfds of processes that may be gone already."""

import errno
import os

# Gone is ESRCH; on Linux 6.1 EINVAL, as long as somebody else holds a pidfd of it.
_GONE = (errno.ESRCH, errno.EINVAL)


def open_pidfd(pid: int) -> int | None:
    """The caller's to close; None where the process is gone. Raises OSError else."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
