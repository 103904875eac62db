"""A server as a user writes it: its address, its name, its fingerprint (pure)."""

import re
from ipaddress import ip_address
from typing import Final

from .flags import SettingsError
from .lazy import load

DEFAULT_PORT: Final = 8443
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
# RFC 1123 and the underscore, which resolvers take. Checked here, because labels of more than 63
# octets raise UnicodeError deep inside of ssl.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)


def host_and_port(text: str) -> tuple[str, int]:
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


def server_name(text: str, source: str) -> str:
    """The same name. Raises SettingsError for one that no certificate can have."""
    if not _is_host(text):
        raise SettingsError(
            f"{source}: {text!r} is no name of a server: write a host name (in its ASCII form, "
            "xn--...) or an address, without a port"
        )
    return text


def read_pin(text: str, source: str) -> str:
    """The fingerprint as penstock writes it. Raises SettingsError."""
    pin: str = load("server_pin").normal_pin(text, source)
    return pin


def _is_host(text: str) -> bool:
    if _NAME.fullmatch(text):
        return len(text) <= 253
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
