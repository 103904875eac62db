"""A job's standard descriptors: pipes that belong to its user, with the mode of their direction.

/dev/stdin, /dev/stdout and /dev/stderr are opened by name (nginx, php-fpm, ``tee /dev/stderr``),
and the kernel then asks for rights on the pipe as on a file. Its maker is its owner, which here is
root. So each is given to the job's user: what it reads can be opened for reading, 0400, and what
it writes for writing, 0200. No user but that one, and root, can open them at all.
"""

import contextlib
import fcntl
import os
from typing import Final

from ..users.user_names import User

F_SETPIPE_SZ: Final = 1031
PIPE_BYTES: Final = 1 << 20  # fs.pipe-max-size; more than that only with CAP_SYS_RESOURCE
# Write end of the job's standard input, and both ends of a pipe before it, in which the server
# keeps what it has accepted, so that it survives the server's own end (docs/protocol.md).
INPUT_PIPES: Final = ("stdin", "input_read", "input_write")
_READ: Final = 0o400
_WRITE: Final = 0o200


def make_output(user: User | None) -> tuple[int, int]:
    """A close-on-exec pipe, as large as the kernel permits: our end, which never blocks, and the
    job's. ``user`` None: it stays this process's user's. Raises OSError."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        # An ordinary user's share of pipe memory may be used up; smaller pipes work too.
        with contextlib.suppress(PermissionError):
            fcntl.fcntl(read_fd, F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(read_fd, False)
        _give(write_fd, user, _WRITE)
    except OSError:
        os.close(read_fd)
        os.close(write_fd)
        raise
    return read_fd, write_fd


def make_input(pipes: dict[str, int], user: User | None) -> int:
    """The job's end; ours go into ``pipes``, by INPUT_PIPES. Raises OSError."""
    job_end, pipes["stdin"] = os.pipe2(os.O_CLOEXEC)
    try:
        _give(job_end, user, _READ)
        pipes["input_read"], pipes["input_write"] = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        os.close(job_end)
        raise
    os.set_blocking(pipes["stdin"], False)
    return job_end


def no_input() -> int:
    """The standard input of a job without input: /dev/null. Raises OSError."""
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def _give(fd: int, user: User | None, mode: int) -> None:
    """Gives the pipe, whose ends are one file, to the user. An end that is open already, as ours
    is, stays open. Mode first, because as long as it is root's no other user can open it."""
    os.fchmod(fd, mode)
    if user is not None:
        os.fchown(fd, user.uid, user.gid)
