"""Holds 400 KiB of a file that has no name any more: ``python holder.py HOW``, in a directory.

Says ``held`` and waits to be killed. HOW: ``open`` or ``mapped``; ``far-down``, so that its path is
longer than the page that /proc has for it; ``own-table``, in a thread whose descriptors are its
own; ``mapped-last`` and ``open-last``, in a thread that goes on when the first one has ended.
"""

import ctypes
import mmap
import os
import platform
import sys
import threading
import time
from pathlib import Path

CLONE_FILES = 0x400
EXIT = {"x86_64": 60, "aarch64": 93}  # of one thread; asm/unistd_64.h, asm-generic/unistd.h
libc = ctypes.CDLL(None, use_errno=True)
kept: list[object] = []


def hold(how: str) -> None:
    if how == "far-down":
        for _ in range(20):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
    elif how == "own-table":
        assert libc.unshare(CLONE_FILES) == 0
    elif how.endswith("-last"):
        main = Path(f"/proc/self/task/{threading.main_thread().native_id}/stat")
        while main.read_text().split()[2] != "Z":
            time.sleep(0.001)
    fd = os.open("file", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 400 * 1024)
    kept.append(os.dup(fd))
    if how != "own-table":  # it would be found by that
        kept.append(mmap.mmap(fd, 4096))
    os.unlink("file")
    if how.startswith("mapped"):
        kept.append(mmap.mmap(fd, 4096))
        os.closerange(3, 64)
    print("held", flush=True)
    threading.Event().wait()


threading.Thread(target=hold, args=(sys.argv[1],)).start()
if sys.argv[1].endswith("-last"):
    libc.syscall(EXIT[platform.machine()], 0)
threading.Event().wait()
