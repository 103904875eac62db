"""Landlock: a job reaches only files beneath listed paths, whatever their own rights say.

The rights are those of linux/landlock.h. A kernel knows those up to its ABI version, and does not
hold back what it does not know.
"""

import contextlib
import os
import stat
import struct
from collections.abc import Sequence
from typing import Final

from ..kernel import system_calls

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_PATH_BENEATH: Final = struct.Struct("=Qi")

_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_ALL_OF_ABI_1: Final = (1 << 13) - 1
_REFER: Final = 1 << 13  # ABI 2
_TRUNCATE: Final = 1 << 14  # ABI 3
_IOCTL_DEV: Final = 1 << 15  # ABI 5
_OF_A_FILE: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
# From this version on Landlock holds back every change of a file; truncate(2) was the last one.
COMPLETE_ABI: Final = 3

READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
# What every program needs to run at all. Not /etc and /proc, which show much of the host.
SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/etc/ld.so.cache")
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def abi() -> int:
    """The kernel's version of Landlock; 0 where it has none, or it is off, or a container's filter
    forbids it."""
    try:
        return system_calls.call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


def handled(version: int) -> int:
    """The rights on files that a kernel of this ABI version can hold back."""
    rights = _ALL_OF_ABI_1
    for least, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        if version >= least:
            rights |= right
    return rights


def restrict(rights: int, read: Sequence[str], write: Sequence[str], maybe: Sequence[str]) -> None:
    """Restricts this process, from here on, and all its descendants. Needs no_new_privs.

    ``rights`` are those of handled(). ``read`` and ``write`` must be there. The system's own paths,
    and ``maybe``, which may be written, are allowed as far as they are there. Raises OSError.
    """
    ruleset = system_calls.call(_CREATE_RULESET, struct.pack("=Q", rights), 8, 0)
    try:
        for path in read:
            _allow(ruleset, path, READ)
        for path in write:
            _allow(ruleset, path, rights)
        for path, allowed in (
            *((path, READ) for path in SYSTEM),
            *((path, rights) for path in (*DEVICES, *maybe)),
        ):
            with contextlib.suppress(FileNotFoundError):
                _allow(ruleset, path, allowed)
        system_calls.call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_A_FILE  # the others are for directories, and would be EINVAL
        system_calls.call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, _PATH_BENEATH.pack(rights, fd), 0)
    finally:
        os.close(fd)
