"""Addresses of the configuration: where clients connect (pure)."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from .toml_tables import show

_FORM: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})", re.ASCII)
_LABEL: Final = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"  # RFC 1123 2.1
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NUMBERS: Final = re.compile(r"[0-9.]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """``host`` is a name or a numeric address, without brackets. ``port`` 0: any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """An address in the form of str(Address). Raises ValueError."""
    match = _FORM.fullmatch(text)
    port = int(match[3]) if match else -1
    if match is None or not 0 <= port <= 65535 or not _is_host(match[1], match[2]):
        raise ValueError(f"{show(text)} is no address and port")
    return Address(match[1] or match[2], port)


def _is_host(bracketed: str | None, plain: str | None) -> bool:
    if bracketed is None and plain is not None and not _NUMBERS.fullmatch(plain):
        return _HOST.fullmatch(plain) is not None
    try:
        # "0", "127.1" and their like are addresses to some programs and names to others.
        address = ipaddress.ip_address(bracketed or plain or "")
    except ValueError:
        return False
    return address.version == (4 if bracketed is None else 6)
