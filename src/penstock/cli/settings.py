"""Where the server is and who we are there: flags, then the environment."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..client import Endpoint

DEFAULT_PORT: Final = 8443


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

    @property
    def json(self) -> bool:
        """-o json was given."""
        return self.output == "json"

    def configured(self, environment: Mapping[str, str] = os.environ) -> bool:
        """Is there a server to talk to at all?"""
        return bool(self.address or environment.get("PENSTOCK_ADDR"))

    def endpoint(self, environment: Mapping[str, str] = os.environ) -> "Endpoint":
        """The server and our identity. Raises SettingsError, naming all that is missing."""
        from ..client import Endpoint

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
        path = self.passphrase_file or environment.get("PENSTOCK_KEY_PASSPHRASE_FILE")
        if path:
            return Path(path).read_bytes().rstrip(b"\r\n")
        if text := environment.get("PENSTOCK_KEY_PASSPHRASE"):
            return text.encode()
        if not _is_encrypted(key):
            return None
        if not sys.stdin.isatty():
            raise SettingsError(
                f"{key} is encrypted: give --key-passphrase-file, PENSTOCK_KEY_PASSPHRASE_FILE "
                "or PENSTOCK_KEY_PASSPHRASE"
            )
        return getpass(f"Passphrase of {key}: ").encode()


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
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"{text!r} is no address; write host:port, or [address]:port")
    return host, int(port)
