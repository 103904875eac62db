"""A file system that never answers: who looks into it is in an uninterruptible sleep.

FUSE without a library (fuse(4), linux/fuse.h): the kernel's INIT is answered, the next request is
read, and nothing else is said. Once a request was read, the kernel lets no signal end the wait.
"""

import contextlib
import ctypes
import os
import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from patience import patient

_INIT = 26
_IN = struct.Struct("<IIQQIIII")  # len, opcode, unique, nodeid, uid, gid, pid, padding
_OUT = struct.Struct("<IiQ")  # len, error, unique
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)
PATIENCE_S = patient(20)


@dataclass
class StuckMount:
    """``path`` is where to look; the file ``x`` below it is never found."""

    path: Path
    fd: int

    def wait_asked(self) -> None:
        """Returns when somebody waits for its answer for good."""
        while self._read() == _INIT:
            pass

    def _read(self) -> int:
        assert select.select([self.fd], [], [], PATIENCE_S)[0], "nobody has looked"
        data = os.read(self.fd, 1 << 17)
        _, opcode, unique, *_ = _IN.unpack_from(data)
        if opcode == _INIT:
            major, minor = struct.unpack_from("<II", data, _IN.size)
            init = struct.pack("<IIIIHHIIHHI28x", major, minor, 4096, 0, 0, 0, 4096, 1, 0, 0, 0)
            os.write(self.fd, _OUT.pack(_OUT.size + len(init), 0, unique) + init)
        return int(opcode)

    def wake(self) -> None:
        """Ends the connection: whoever waits goes on with an error."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _call(name: str, *args: object) -> None:
    if getattr(_libc, name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


@contextlib.contextmanager
def stuck_mount(path: Path) -> Iterator[StuckMount]:
    """Mounted on the directory ``path``, for every user. Raises OSError without FUSE or root."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other"
    mount = StuckMount(path, fd)
    try:
        _call("mount", b"stuck", str(path).encode(), b"fuse", 6, options.encode())
        try:
            yield mount
        finally:
            mount.wake()
            _call("umount2", str(path).encode(), _MNT_DETACH)
    finally:
        mount.wake()
