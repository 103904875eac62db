"""Listening sockets from one process to the next, by the convention of sd_listen_fds(3).

They are descriptors 3 and up. LISTEN_FDS says how many there are, and LISTEN_PID for which process
they are meant, so that a child that inherits the variable by chance does not believe it. systemd
hands the sockets of a unit to penstockd in this form, and penstockd hands its own to each server.
"""

import fcntl
import os
import socket
from collections.abc import MutableMapping, Sequence
from typing import Final

_FIRST_FD: Final = 3  # SD_LISTEN_FDS_START
_COUNT: Final = "LISTEN_FDS"
_PID: Final = "LISTEN_PID"
_NAMES: Final = "LISTEN_FDNAMES"
# More than any configuration or unit names.
_MOST: Final = 64
_REMEDY: Final = "a unit needs ListenStream=ADDRESS:PORT, and no Accept=yes"


class PassingError(Exception):
    """What was handed over cannot be used; the text says what it is and what to do."""


def received_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The sockets that this process was started with; none if there are none, or if they are meant
    for another process.

    They become close-on-exec and non-blocking. The variables are taken out of ``environ``, so that
    no child believes them. Raises PassingError: they are no listening sockets of TCP.
    """
    count, pid, _ = (environ.pop(name, "") for name in (_COUNT, _PID, _NAMES))
    if pid != str(os.getpid()):
        return []
    if not (count.isascii() and count.isdigit() and len(count) <= 3 and int(count) <= _MOST):
        raise PassingError(f"{_COUNT} is {count!r}, and must be a number up to {_MOST}")
    return [_listening_socket(fd) for fd in range(_FIRST_FD, _FIRST_FD + int(count))]


def _listening_socket(fd: int) -> socket.socket:
    try:
        found = socket.socket(fileno=fd)
    except OSError as error:
        text = f"descriptor {fd} of {_COUNT} is no socket ({error.strerror}); {_REMEDY}"
        raise PassingError(text) from error
    is_tcp = found.family in (socket.AF_INET, socket.AF_INET6) and found.type == socket.SOCK_STREAM
    if not is_tcp or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        found.detach()
        raise PassingError(f"descriptor {fd} of {_COUNT} is no listening socket of TCP; {_REMEDY}")
    found.set_inheritable(False)
    found.setblocking(False)
    return found


def pass_sockets_on(fds: Sequence[int]) -> dict[str, str]:
    """In a child, before it executes the program that is to have ``fds``: puts them where they must
    be and closes everything else above standard error. Returns the variables that go with them.

    Raises OSError.
    """
    # Copied above their places first, so that no copy overwrites another's source.
    end = _FIRST_FD + len(fds)
    copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, end) for fd in fds]
    for place, copy in enumerate(copies, _FIRST_FD):
        os.dup2(copy, place, inheritable=True)
    os.closerange(end, os.sysconf("SC_OPEN_MAX"))
    return {_COUNT: str(len(fds)), _PID: str(os.getpid())} if fds else {}
