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
from .standard import complain
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
    return _typed(ask, f"Passphrase of {key}: ", key)


def ca_key_passphrase(key: Path, option: str | None) -> bytes | None:
    """The passphrase of a CA's key, from ``--ca-passphrase-file``, the environment or the terminal;
    None if the key needs none. Raises as ``key_passphrase``."""
    if (found := _given_for_ca(option)) is not None or not _is_encrypted(key):
        return found
    ask = _question()
    if ask is None:
        return None  # who opens the key says what to give
    return _typed(ask, f"Passphrase of {key}: ", key)


def new_ca_passphrase(key: Path, option: str | None, *, encrypt: bool) -> bytes | None:
    """What a new CA's key is to be encrypted with, from the same places; None for not at all. At
    the terminal it is asked for only with ``encrypt``, twice. Raises SettingsError."""
    found = _given_for_ca(option)
    return typed_twice(key, "--ca-passphrase-file") if found is None and encrypt else found


def new_passphrase(key: Path, option: str | None, *, encrypt: bool) -> bytes | None:
    """As ``new_ca_passphrase``, of a server's or client's key, from ``--passphrase-file``."""
    if option is not None:
        return read_passphrase(Path(option), "--passphrase-file")
    return typed_twice(key, "--passphrase-file") if encrypt else None


def _given_for_ca(option: str | None) -> bytes | None:
    environment = current().environment
    if option is not None:
        return read_passphrase(Path(option), "--ca-passphrase-file")
    if path := environment.get("PENSTOCK_CA_PASSPHRASE_FILE"):
        return read_passphrase(Path(path), "PENSTOCK_CA_PASSPHRASE_FILE")
    text = environment.get("PENSTOCK_CA_PASSPHRASE")
    return os.fsencode(text) if text else None


def typed_twice(key: Path, option: str) -> bytes:
    """A new passphrase, asked for at the terminal. Raises SettingsError."""
    ask = _question()
    if ask is None:
        raise SettingsError(f"there is no terminal to ask at for the passphrase: give {option}")
    first = _typed(ask, f"New passphrase of {key}: ", key)
    if not first:
        raise SettingsError(f"the passphrase of {key} is empty; the key would not be encrypted")
    if _typed(ask, "The same once more: ", key) != first:
        raise SettingsError(f"the two passphrases of {key} differ; nothing was made")
    return first


def confirmed(question: str) -> bool:
    """Whether the user types yes at the terminal; False without one."""
    if current().hosted or not sys.stdin.isatty():
        return False
    with raising_signals():
        complain(question)
        return sys.stdin.readline().strip().lower() == "yes"


def _typed(ask: Callable[[str], str], question: str, key: Path) -> bytes:
    try:
        return os.fsencode(ask(question))
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
