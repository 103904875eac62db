"""Where the server is and who we are there: flags, then the environment."""

import os
import re
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from getpass import getpass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .ending_signals import raising_signals

if TYPE_CHECKING:
    from ..client.client import Endpoint

DEFAULT_PORT: Final = 8443
# More than OpenSSL takes (client/identity.py says so), and no device that never ends.
_PASSPHRASE_FILE_BYTES: Final = 64 * 1024
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
# RFC 1123 and the underscore, which resolvers take; labels of more than 63 octets raise
# UnicodeError deep inside of ssl.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)


class SettingsError(Exception):
    """Something to connect with is missing or wrong; the text says what to set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the flags said; None where they did not."""

    address: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    passphrase_file: str | None = None
    output: str = "text"
    connect_timeout_s: float = 10.0
    """As penstock.client.CONNECT_S, which is not imported for --help."""

    @property
    def json(self) -> bool:
        """-o json was given."""
        return self.output == "json"

    def configured(self, environment: Mapping[str, str] = os.environ) -> bool:
        """Is there a server to talk to at all?"""
        return bool(self.address or environment.get("PENSTOCK_ADDR"))

    def endpoint(self, environment: Mapping[str, str] = os.environ) -> "Endpoint":
        """The server and our identity. Raises SettingsError, naming all that is missing."""
        from ..client.client import Endpoint

        found = {}
        missing = []
        for flag, name, value in (
            ("--addr", "PENSTOCK_ADDR", self.address),
            ("--ca", "PENSTOCK_CA", self.ca),
            ("--cert", "PENSTOCK_CERT", self.certificate),
            ("--key", "PENSTOCK_KEY", self.key),
        ):
            found[flag] = value or environment.get(name, "")
            if not found[flag]:
                missing.append(f"{flag} (or {name})")
        if missing:
            raise SettingsError(f"no server to connect to: give {', '.join(missing)}")
        host, port = _address(found["--addr"])
        key = Path(found["--key"])
        return Endpoint(
            host=host,
            port=port,
            ca=Path(found["--ca"]),
            certificate=Path(found["--cert"]),
            key=key,
            passphrase=self._passphrase(key, environment),
        )

    def _passphrase(self, key: Path, environment: Mapping[str, str]) -> bytes | None:
        for name, path in (
            ("--key-passphrase-file", self.passphrase_file),
            ("PENSTOCK_KEY_PASSPHRASE_FILE", environment.get("PENSTOCK_KEY_PASSPHRASE_FILE")),
        ):
            if path:
                return read_passphrase(Path(path), name)
        if text := environment.get("PENSTOCK_KEY_PASSPHRASE"):
            return os.fsencode(text)
        if not _is_encrypted(key):
            return None
        if not sys.stdin.isatty():
            raise SettingsError(
                f"{key} is encrypted: give --key-passphrase-file, PENSTOCK_KEY_PASSPHRASE_FILE "
                "or PENSTOCK_KEY_PASSPHRASE"
            )
        try:
            with raising_signals():
                return os.fsencode(getpass(f"Passphrase of {key}: "))
        except EOFError:
            raise SettingsError(f"no passphrase of {key} was typed") from None


def read_passphrase(path: Path, name: str) -> bytes:
    """What the file holds, without its line end; ``name`` is what named the file. Raises
    KeyModeError if others can read it, as of a key, and SettingsError."""
    from ..pki.issue import KeyModeError

    try:
        # One that waits, such as a pipe whose writer asks somebody, can be interrupted.
        with raising_signals(), open(path, "rb") as file:
            # Of the file that is read, not of one that took its place.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            passphrase = b"" if mode & 0o077 else file.read(_PASSPHRASE_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"{path} ({name}): {error.strerror}; give a file that holds the passphrase"
        ) from error
    if mode & 0o077:
        raise KeyModeError(
            f"{path} ({name}) can be read or written by others (mode {mode:04o}); "
            f"run: chmod 600 {path}"
        )
    if len(passphrase) > _PASSPHRASE_FILE_BYTES:
        raise SettingsError(f"{path} ({name}) is too large to be a passphrase's file")
    passphrase = passphrase.rstrip(b"\r\n")
    if not passphrase:
        raise SettingsError(f"{path} ({name}) is empty; it must hold the passphrase")
    return passphrase


def _is_encrypted(key: Path) -> bool:
    try:
        return b"ENCRYPTED" in key.read_bytes()
    except OSError:
        return False  # whoever opens it next says why


def _address(text: str) -> tuple[str, int]:
    """host, host:port or [v6]:port."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")) or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    # Not isdigit alone: that takes "\u00b2", and int() takes no more than 4300 digits.
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536 or not _is_host(host):
        raise SettingsError(
            f"{text!r} is no address; write host:port, or [address]:port "
            "(a host name in its ASCII form, xn--...)"
        )
    return host, int(port)


def _is_host(text: str) -> bool:
    if _NAME.fullmatch(text):
        return len(text) <= 253
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
