"""The address of a server, as a user writes it (pure)."""

import re
from ipaddress import ip_address
from typing import Final

from .flags import SettingsError

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


def _is_host(text: str) -> bool:
    if _NAME.fullmatch(text):
        return len(text) <= 253
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
