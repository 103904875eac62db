"""System calls that Python's library lacks, by ctypes; loaded once, before any fork."""

import ctypes
import os
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_syscall: Final = _libc.syscall
_syscall.restype = ctypes.c_long
_MNT_DETACH: Final = 2  # linux/fs.h
_NO_MORE: Final = (ctypes.c_ulong(0),) * 3  # PR_SET_THP_DISABLE looks at what it does not use


def call(number: int, *arguments: "int | bytes | ctypes.Array[ctypes.c_char] | None") -> int:
    """syscall(2). Raises OSError.

    Integers are passed as longs; bytes, and what the kernel is to write into, as pointers.
    """
    # Otherwise ctypes would pass an int that is a variadic argument as 32 bits.
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return checked(int(_syscall(ctypes.c_long(number), *words)))


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    checked(_libc.unshare(ctypes.c_int(flags)))


def setns(fd: int, flags: int) -> None:
    """setns(2). Raises OSError."""
    checked(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)))


def mount(kind: bytes, target: str, flags: int, options: bytes) -> None:
    """mount(2) of a new file system. Raises OSError with the target."""
    try:
        checked(_libc.mount(kind, os.fsencode(target), kind, ctypes.c_ulong(flags), options))
    except OSError as error:
        error.filename = target
        raise


def unmount(target: str) -> None:
    """umount2(2), detached: what was opened of it stays. Raises OSError with the target."""
    try:
        checked(_libc.umount2(os.fsencode(target), ctypes.c_int(_MNT_DETACH)))
    except OSError as error:
        error.filename = target
        raise


def prctl(option: int, argument: int) -> None:
    """prctl(2) of those with one argument. Raises OSError."""
    checked(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), *_NO_MORE))


def set_personality(value: int) -> None:
    """personality(2). Raises OSError."""
    checked(_libc.personality(ctypes.c_ulong(value)))


def chown(fd: int, uid: int, gid: int) -> None:
    """fchownat(2) of what a descriptor means, which may be an O_PATH one. Raises OSError."""
    checked(_libc.fchownat(ctypes.c_int(fd), b"", ctypes.c_uint(uid), ctypes.c_uint(gid), 0x1000))


def install_filter(program: bytes) -> None:
    """prctl(PR_SET_SECCOMP) with struct sock_filter entries. Raises OSError."""
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog of linux/filter.h: unsigned short, then, aligned, a pointer.
    fprog = (ctypes.c_void_p * 2)(len(program) // 8, ctypes.addressof(code))
    checked(_libc.prctl(22, ctypes.c_ulong(2), fprog, 0, 0))


def checked(result: int) -> int:
    """The result of a C function that returns -1 and sets errno. Raises OSError."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
