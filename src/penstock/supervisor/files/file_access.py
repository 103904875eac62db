"""The rights of a job's user on files, for a moment, without becoming that user."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Final

from ..users.user_names import User

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_GET_PDEATHSIG: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def files_as(user: User | None) -> Iterator[None]:
    """Files are looked at with this user's rights inside; None changes nothing. Raises OSError.

    By setfsuid(2): with the file system's user 0 the kernel takes away the capabilities that bypass
    permissions, and gives them back with it; for signals and everything else the process stays
    root, so that the user cannot signal or trace it meanwhile. Supplementary groups are the user's,
    as a job has them. Only for a process with one thread, because groups are the whole process's.
    """
    if user is None:
        yield
        return
    groups = os.getgroups()
    own_uid, own_gid = os.geteuid(), os.getegid()
    # The kernel forgets the signal for a parent's death with every change of user (prctl(2)).
    signal = ctypes.c_int()
    _libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(signal), 0, 0, 0)
    os.setgroups(user.groups)
    try:
        _set("gid", user.gid)
        _set("uid", user.uid)
        yield
    finally:
        _set("uid", own_uid)
        _set("gid", own_gid)
        os.setgroups(groups)
        _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.value), 0, 0, 0)


def _set(kind: str, number: int) -> None:
    # The call reports no error. So it is asked again with -1, which only returns the number in use.
    call = _libc.setfsuid if kind == "uid" else _libc.setfsgid
    call(ctypes.c_uint(number))
    if ctypes.c_uint(call(ctypes.c_uint(0xFFFFFFFF))).value != number:
        raise PermissionError(1, f"setfs{kind}({number}) has no effect; CAP_SETUID is missing")
