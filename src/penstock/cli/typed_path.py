"""Paths as a user types them, which begin at the directory where the user is."""

import os
from pathlib import Path, PosixPath

from .invocation import current


class HeldDirectory:
    """A descriptor of a directory. Paths that begin there find nothing once it is closed."""

    def __init__(self, fd: int) -> None:
        """Takes ``fd`` over."""
        self.fd = fd

    def close(self) -> None:
        """May be called again."""
        # No other number: it may be another file's by then.
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class TypedPath(PosixPath):
    """A relative path that begins at a held directory; as text it is what was typed."""

    _directory: HeldDirectory

    def __fspath__(self) -> str:
        return f"/proc/self/fd/{self._directory.fd}/{self}"

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def typed_path(typed: str | Path) -> Path:
    """The path that was typed: absolute, or beginning at the current invocation's directory."""
    path = Path(typed)
    directory = current().directory
    if directory is None or path.is_absolute():
        return path
    held = TypedPath(typed)
    held._directory = directory
    return held


def lasting(path: Path) -> Path:
    """The same path by a descriptor of its own, so that it is found though its invocation has
    ended, until ``let_go``. Raises OSError."""
    if not isinstance(path, TypedPath):
        return path
    kept = TypedPath(path)
    kept._directory = HeldDirectory(os.dup(path._directory.fd))
    return kept


def let_go(path: Path) -> None:
    """Closes the directory at which it begins. May be called again."""
    if isinstance(path, TypedPath):
        path._directory.close()
