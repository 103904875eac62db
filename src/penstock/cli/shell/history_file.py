"""The file of the lines that were typed: the user's own, to which several shells write at once.

A line a line, the oldest first. Lines are appended under a lock (flock(2)), and the file is
replaced by its newer half when it has grown too long, so that no line of another shell is lost.
All of it may wait, for a disk or for the lock, so a thread calls it.
"""

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..private_file import replace_file

MOST_LINES: Final = 2000
"""So many are kept; the file may have twice as many in between."""
_MOST_BYTES: Final = 16 * 1024 * 1024
# Without O_NONBLOCK opening a named pipe would wait for its other end.
_FLAGS: Final = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def history_path(environment: Mapping[str, str]) -> Path | None:
    """Where the lines are kept, as the XDG Base Directory Specification has it, which ignores
    relative paths; None where ``PENSTOCK_HISTORY`` is ``off``."""
    if environment.get("PENSTOCK_HISTORY", "").lower() == "off":
        return None
    base = environment.get("XDG_STATE_HOME", "")
    if not base.startswith("/"):
        home = environment.get("HOME", "")
        if not home.startswith("/"):
            return None
        base = os.path.join(home, ".local", "state")
    return Path(base, "penstock", "history")


def kept_lines(path: Path) -> list[str]:
    """The newest of its lines. Raises OSError, also if it is not the user's alone."""
    return _lines_of(path)[-MOST_LINES:]


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Appends them, and makes the file if there is none. Raises OSError, also if it is not the
    user's alone."""
    with _locked(path) as file:
        # A line that another program has left without its end would swallow ours.
        begin = b"" if _ends_whole(file) else b"\n"
        os.write(file, begin + _encoded(lines))
        found = _lines_of(path)
        if len(found) > 2 * MOST_LINES:
            replace_file(path, _encoded(found[-MOST_LINES:]), durable=False)


def _encoded(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open for appending and locked. Raises OSError, also if it is not ours alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600)
        try:
            state = os.fstat(file)
            _check(state)
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_there(file, path):
                yield file
                return
        finally:
            os.close(file)


def _is_there(file: int, path: Path) -> bool:
    """Whether it is the file of this name still: another shell may have replaced it."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _check(state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o077:
        raise PermissionError("not a file of this user alone")


def _ends_whole(file: int) -> bool:
    size = os.fstat(file).st_size
    return size == 0 or os.pread(file, 1, size - 1) == b"\n"


def _lines_of(path: Path) -> list[str]:
    file = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        state = os.fstat(file)
        _check(state)
        begin = max(0, state.st_size - _MOST_BYTES)
        data = os.pread(file, _MOST_BYTES, begin)
    finally:
        os.close(file)
    lines = data.decode(errors="replace").split("\n")
    return [line for line in lines[bool(begin) :] if line]
