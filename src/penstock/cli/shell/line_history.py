"""Lines that were typed, in a file of the user's own, which several shells write to at once.

A line a line, the oldest first. Lines are appended under a lock (flock(2)), and the file is
replaced by its newer half when it has grown too long, so that no line of another shell is lost.
"""

import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from prompt_toolkit.history import History

from ..private_file import replace_file

MOST_LINES: Final = 2000
"""So many are kept; the file may have twice as many in between."""
_LONGEST_LINE: Final = 8192
_MOST_BYTES: Final = 16 * 1024 * 1024


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


class LineHistory(History):
    """``path`` None: the lines of this shell alone. ``keeps``: whether a line may be kept at
    all. Never fails: without its file the shell has no older lines."""

    def __init__(self, path: Path | None, keeps: Callable[[str], bool]) -> None:
        super().__init__()
        self._path = path
        self._keeps = keeps

    def load_history_strings(self) -> Iterable[str]:
        """The kept lines, the newest first."""
        lines: list[str] = []
        if self._path is not None:
            with suppress(OSError):
                lines = _lines_of(self._path)
        return reversed(lines[-MOST_LINES:])

    def append_string(self, string: str) -> None:
        """Keeps each line of what was typed, unless it is empty, too long, or not to be kept."""
        for line in string.splitlines():
            fits = line.strip() and len(line) <= _LONGEST_LINE
            if fits and self._keeps(line):
                super().append_string(line)

    def store_string(self, string: str) -> None:
        """Appends a line to the file."""
        if self._path is None:
            return
        with suppress(OSError), _locked(self._path) as file:
            # A line that another program has left without its end would swallow ours.
            begin = b"" if _ends_whole(file) else b"\n"
            os.write(file, begin + string.encode(errors="replace") + b"\n")
            lines = _lines_of(self._path)
            if len(lines) > 2 * MOST_LINES:
                kept = "".join(f"{line}\n" for line in lines[-MOST_LINES:])
                replace_file(self._path, kept.encode(errors="replace"), durable=False)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open for appending and locked. Raises OSError, also if it is not ours alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
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
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        state = os.fstat(file)
        _check(state)
        begin = max(0, state.st_size - _MOST_BYTES)
        data = os.pread(file, _MOST_BYTES, begin)
    finally:
        os.close(file)
    lines = data.decode(errors="replace").split("\n")
    return [line for line in lines[bool(begin) :] if line]
