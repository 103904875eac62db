"""Changing the file of contexts: one writer at a time, and a reader sees it before or after.

A lock file beside it, because the file itself is replaced by each change. A link is followed, as
dotfiles' managers keep the file elsewhere; the lock lies beside the file that the link leads to,
so that two links to one file are one lock.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio

from .context_file import contexts_text
from .flags import SettingsError
from .private_file import replace_file
from .user_contexts import Contexts, parsed

# A change takes milliseconds; more is a writer that was stopped (^Z).
_WAIT_S: Final = 10.0
_LOOK_S: Final = 0.02


async def change_contexts(path: Path, edit: Callable[[Contexts, str], str]) -> Contexts:
    """Replaces the file by what ``edit`` makes of its contexts and text; returns the new ones.

    Raises what ``edit`` raises, SettingsError and OSError; then the file is as it was.

    Cancellation: atomic.
    """
    await trio.lowlevel.checkpoint()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    real = _real(path)
    lock = os.open(f"{real}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await _locked(lock, path)
        text = contexts_text(path) or ""
        changed = edit(parsed(text, path), text)
        after = parsed(changed, path)
        replace_file(real, changed.encode(), durable=True)
        return after
    finally:
        os.close(lock)


def _real(path: Path) -> Path:
    """Where the file itself is, if ``path`` is a link."""
    return Path(os.path.realpath(path))


async def _locked(lock: int, path: Path) -> None:
    give_up_at = trio.current_time() + _WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if trio.current_time() > give_up_at:
                raise SettingsError(
                    f"{path} is being changed by another process, for more than {_WAIT_S:g} s"
                ) from None
            await trio.sleep(_LOOK_S)
        else:
            return
