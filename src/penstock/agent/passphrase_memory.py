"""Passphrases that were typed, for as long as the agent lives: each is asked for once.

Kept are those alone that were typed at a terminal and have opened their key. What a file or the
environment gives is read again each time, so that what a user has removed there is gone.
"""

import os
from pathlib import Path

_KeyFile = tuple[str, int, int, int, int, int]


class PassphraseMemory:
    """By the key's file as it is now: another one in its place is asked for again."""

    def __init__(self) -> None:
        self._known: dict[_KeyFile, bytes] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, key: Path) -> bytes | None:
        """What was typed for this key; None if nothing was."""
        found = _key_file(key)
        return None if found is None else self._known.get(found)

    def keep(self, key: Path, passphrase: bytes) -> None:
        """It has opened the key."""
        if (found := _key_file(key)) is not None:
            # Of a key that was replaced nothing is kept.
            self._known = {each: text for each, text in self._known.items() if each[0] != found[0]}
            self._known[found] = passphrase

    def forget(self) -> None:
        """All of them."""
        self._known.clear()


def _key_file(key: Path) -> _KeyFile | None:
    try:
        status = os.stat(key)
    except OSError:
        return None
    return (
        *(os.path.realpath(key), status.st_dev, status.st_ino),
        *(status.st_mtime_ns, status.st_ctime_ns, status.st_size),
    )
