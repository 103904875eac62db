"""Own namespaces: which there are, and the loopback interface of a new network."""

import fcntl
import socket
import struct
from typing import Final

from ...policy.limit_classes import IsolationName

# linux/sched.h
FLAGS: Final[dict[IsolationName, int]] = {
    "isolation.filesystem": 0x0002_0000,  # CLONE_NEWNS
    "isolation.uts": 0x0400_0000,
    "isolation.ipc": 0x0800_0000,
    "isolation.network": 0x4000_0000,
}

_SIOCSIFFLAGS: Final = 0x8914  # linux/sockios.h
_IFF_UP: Final = 1


def raise_loopback() -> None:
    """Brings up lo, which a new network has, but down: many programs talk to themselves by it.

    Raises OSError.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        # struct ifreq: a name of 16 bytes, then flags; 40 bytes in all.
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))
