"""The server's address and our identity there: from flags, then the environment."""

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from ..client.client import Endpoint
from .flags import Settings, SettingsError
from .passphrases import key_passphrase

DEFAULT_PORT: Final = 8443
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
# RFC 1123 and the underscore, which resolvers take. Checked here, because labels of more than 63
# octets raise UnicodeError deep inside of ssl.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)


def endpoint_of(settings: Settings, environment: Mapping[str, str] = os.environ) -> Endpoint:
    """The server and our identity. Raises SettingsError, naming all that is missing."""
    found = {}
    missing = []
    for flag, name, value in (
        ("--addr", "PENSTOCK_ADDR", settings.address),
        ("--ca", "PENSTOCK_CA", settings.ca),
        ("--cert", "PENSTOCK_CERT", settings.certificate),
        ("--key", "PENSTOCK_KEY", settings.key),
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
        passphrase=key_passphrase(key, settings.passphrase_file, environment),
    )


def _address(text: str) -> tuple[str, int]:
    """Host and port of "host", "host:port" or "[v6]:port". Raises SettingsError."""
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")) or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    # Not isdigit alone, because that takes "\u00b2", and int() at most 4300 digits.
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
