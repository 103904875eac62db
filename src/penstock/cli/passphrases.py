"""Passphrases of private keys: from a file, the environment, or a question at the terminal."""

import os
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from getpass import getpass
from pathlib import Path
from typing import Final

from ..pki.key_mode import KeyModeError
from .ending_signals import raising_signals
from .flags import SettingsError
from .invocation import current
from .setting_sources import Sources
from .typed_path import typed_path

# More than OpenSSL takes, so that client/identity.py reports a long one; a bound, because a device
# may never end.
_FILE_BYTES: Final = 64 * 1024


def key_passphrase(
    key: Path, sources: Sources, environment: Mapping[str, str] | None = None
) -> bytes | None:
    """The passphrase of our private key, from what is set or from the terminal; None if the key
    needs none. Raises SettingsError, and what ``read_passphrase`` raises."""
    if (file := sources.values.get("passphrase_file")) is not None:
        return read_passphrase(typed_path(file.text), file.source)
    if environment is None:
        environment = current().environment
    if text := environment.get("PENSTOCK_KEY_PASSPHRASE"):
        return os.fsencode(text)
    if not _is_encrypted(key):
        return None
    known = current().known_passphrase
    if known is not None and (passphrase := known(key)) is not None:
        return passphrase
    ask = _question()
    if ask is None:
        raise SettingsError(
            f"{key} is encrypted: give --key-passphrase-file, PENSTOCK_KEY_PASSPHRASE_FILE "
            "or PENSTOCK_KEY_PASSPHRASE"
        )
    try:
        return os.fsencode(ask(f"Passphrase of {key}: "))
    except EOFError:
        raise SettingsError(f"no passphrase of {key} was typed") from None


def _question() -> Callable[[str], str] | None:
    """What asks at the terminal; None without one."""
    if current().hosted:
        return current().ask
    return _ask if sys.stdin.isatty() else None


def _ask(question: str) -> str:
    with raising_signals():
        return getpass(question)


def _interruptible() -> AbstractContextManager[None]:
    """Signals end what waits; in a host they end the command line, and this thread is left."""
    return nullcontext() if current().hosted else raising_signals()


def _is_encrypted(key: Path) -> bool:
    try:
        return b"ENCRYPTED" in key.read_bytes()
    except OSError:
        return False  # load_identity opens it next and reports the error


def read_passphrase(path: Path, name: str) -> bytes:
    """What the file holds, without its line end; ``name`` is what named the file. Raises
    KeyModeError if others can read it, as of a key, and SettingsError."""
    try:
        # Interruptible, because the file may be a pipe whose writer is waiting for its own user.
        with _interruptible(), open(path, "rb") as file:
            # By the descriptor, so that it is the mode of the file that is read.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            passphrase = b"" if mode & 0o077 else file.read(_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"{path} ({name}): {error.strerror}; give a file that holds the passphrase"
        ) from error
    if mode & 0o077:
        raise KeyModeError(
            f"{path} ({name}) can be read or written by others (mode {mode:04o}); "
            f"run: chmod 600 {path}"
        )
    if len(passphrase) > _FILE_BYTES:
        raise SettingsError(f"{path} ({name}) is too large to be a passphrase's file")
    passphrase = passphrase.rstrip(b"\r\n")
    if not passphrase:
        raise SettingsError(f"{path} ({name}) is empty; it must hold the passphrase")
    return passphrase
