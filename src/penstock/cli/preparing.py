"""Making the process's own descriptors safe to use, before anything else.

Imports little, because ``penstock --help`` needs no more.
"""

import io
import os
import sys
from typing import TextIO

from .descriptors import ERR, OUT, ForgivingStream, StandardDescriptor


def prepare() -> None:
    """Makes the three descriptors, ``sys.stdin``, ``sys.stdout`` and ``sys.stderr`` safe to use.

    Call it once, before anything else opens a descriptor. Otherwise the kernel would give a closed
    one to the next file or socket, which would get what is meant for standard output. As glibc
    does for set-user-ID programs, we open it the wrong way round, so that using it fails. Not
    standard error, because a caller that closes it wants no messages, which is no failure.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd == 1 else os.O_WRONLY)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115  # lives as long as the process
    if _same_file(OUT.fd, ERR.fd):
        ERR.place = OUT.place
    _ = OUT.terminal, ERR.terminal  # now, because a terminal that is closed later is none
    sys.stdout = _text(OUT, sys.stdout)
    sys.stderr = _text(ERR, sys.stderr)


def _same_file(one: int, other: int) -> bool:
    """Whether both descriptors write to one place: the terminal, or a 2>&1."""
    return os.path.sameopenfile(one, other)


def _text(descriptor: StandardDescriptor, before: TextIO | None) -> io.TextIOWrapper:
    encoding = "utf-8" if before is None else before.encoding
    return io.TextIOWrapper(
        ForgivingStream(descriptor),  # type: ignore[arg-type]  # as python -u does it
        encoding=encoding,
        errors="backslashreplace",
        newline="\n",
        write_through=True,
    )
