"""Saying things on standard output and error; and making the process's own descriptors safe.

A verb that acts (start, stop) reports by ``say``, which never fails, because a closed pipe must
not keep a job from being stopped. ``root`` checks the output's failure afterwards. A verb that is
about output (stream, run) uses ``writing.write``, which raises.
"""

import io
import os
import sys
from typing import TextIO

from .descriptors import ERR, OUT, ForgivingStream, StandardDescriptor
from .invocation import current


def say(text: str) -> None:
    """Prints one line on standard output, at once even through a pipe. Never fails."""
    current().out.text.write(f"{text}\n")


def complain(text: str) -> None:
    """Prints a message of ours on standard error, on a line of its own. Never fails."""
    err = current().err
    err.text.write(f"{err.place.end_line()}{text}\n")


def encoded(text: str) -> bytes:
    """Bytes for standard output; a character that its encoding lacks is a visible escape."""
    return text.encode(current().out.text.encoding, "backslashreplace")


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
