"""A private key's file must be its owner's alone. Apart from ``issue``, because every client looks
at its key's mode, and few need cryptography."""

import os
import stat
from pathlib import Path


class KeyModeError(Exception):
    """A private key that other users can read; the text has the chmod that mends it."""


def check_private_key_mode(path: Path) -> None:
    """Raises KeyModeError if group or others may read or write the key, OSError if it is gone."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o077:
        raise KeyModeError(
            f"{path} can be read or written by others (mode {mode:04o}); run: chmod 600 {path}"
        )
