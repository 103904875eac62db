"""A job's main process that a tracer holds (ptrace(2)): it hears no signal but KILL.

Only its tracer can resume it. That is this process where the job has asked its parent to trace
it, which the default filter of system calls denies; any other tracer is named in the log instead.
"""

import ctypes
import os
from typing import Final

_PTRACE_DETACH: Final = 17  # sys/ptrace.h
# Loaded once, before any fork.
_libc: Final = ctypes.CDLL(None, use_errno=True)


def let_tracee_run(pid: int) -> str:
    """Resumes a child of this process that was not reaped yet. Returns what was in the way, or
    still is, for the log; "" where no tracer holds it."""
    tracer = _tracer_holding(pid)
    if not tracer:
        return ""
    if tracer != os.getpid():
        return (
            f"its main process {pid} is held by a tracer, process {tracer}, and hears nothing but "
            "KILL until that lets it go on"
        )
    none = ctypes.c_void_p(0)
    if _libc.ptrace(_PTRACE_DETACH, ctypes.c_int(pid), none, none) != 0:
        return f"its main process {pid} is traced by penstockd: {os.strerror(ctypes.get_errno())}"
    return f"its main process {pid} had made penstockd its tracer"


def _tracer_holding(pid: int) -> int:
    """The pid of its tracer, if that is why it stands still (state t of proc(5)); otherwise 0."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return 0
    stopped = fields.get("State", "").split()[:1] == ["t"]
    return int(fields.get("TracerPid", "0")) if stopped else 0
