"""What a certificate may be issued for: client ids, names and addresses of servers (pure).

Every function raises ValueError, whose text says what is allowed. It is raised before a certificate
is issued, because one that no policy could name, or that TLS would never match, would fail only
later, and far from its cause.
"""

import contextlib
import ipaddress
import re
from typing import Final

from cryptography import x509

from ..policy.client_ids import valid_client_id

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_LABEL: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_URI_MAX: Final = 200  # a file is called after it, and NAME_MAX is 255
_DNS_MAX: Final = 253


def check_client_id(name: str) -> None:
    """Raises ValueError unless it is a plain name, or one spiffe:// URI, as a policy has them."""
    if not valid_client_id(name):
        raise ValueError(
            f"{name!r} is no client id: lower-case letters, digits, '.', '_' and '-', at most 63, "
            "beginning with a letter or digit; or one spiffe:// URI"
        )
    if len(name) > _URI_MAX:
        raise ValueError(f"{name[:40]}... is too long for the name of a file")


def check_file_name(name: str) -> None:
    """Raises ValueError unless a server's files can have this name, which no client connects to."""
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be a server's NAME, after which its files are called: letters, "
            "digits, '.', '_' and '-', at most 63, beginning with a letter or digit; host names "
            "and addresses belong behind --host"
        )


def general_name(text: str) -> x509.GeneralName:
    """A DNS name, with or without a wildcard in front, or an address."""
    if "%" not in text:  # an address with a zone means something on this machine only
        with contextlib.suppress(ValueError):
            return x509.IPAddress(ipaddress.ip_address(text))
    labels = text.removeprefix("*.").split(".")
    good = all(_LABEL.fullmatch(label) for label in labels) and len(text) <= _DNS_MAX
    # A last label of digits alone is an address that was typed wrongly.
    if not good or labels[-1].isdigit() or (text.startswith("*.") and len(labels) < 2):
        raise ValueError(
            f"{text!r} is no name of a server: write a DNS name in ASCII (xn--...; '*.' may stand "
            "in front), or an address without brackets, port or zone"
        )
    return x509.DNSName(text)
