"""Whom a policy has revoked, and what becomes of the jobs of clients that are gone (pure)."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from .client_ids import valid_client_id
from .toml_tables import Table, show

OnRevoke = Literal["keep", "stop"]
# RFC 5280 4.1.2.2: at most 20 octets, and one more for the sign as DER has it.
_SERIAL: Final = re.compile(r"(?:[0-9a-f]{1,42}|[0-9a-f]{2}(?::[0-9a-f]{2}){0,20})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Revoked:
    """``serials`` are lower-case hexadecimal without leading zeros, as an Identity has them."""

    serials: frozenset[str] = frozenset()
    clients: frozenset[str] = frozenset()


def parse_revoked(table: Table) -> Revoked:
    """What ``[revoked]`` says. An id need be none of the policy's clients, because one that was
    removed from it may be named here all the same."""
    serials = []
    for text in table.texts("serials"):
        serial = parse_serial(text)
        if serial is None:
            table.wrong(
                "serials",
                f"{show(text)} is no serial number",
                'write it as "openssl x509 -noout -serial" does, such as "0A:1B:2C" or "0A1B2C"',
            )
        else:
            serials.append(serial)
    clients = table.texts("clients")
    for name in clients:
        if not valid_client_id(name):
            table.wrong(
                "clients",
                f"{show(name)} is no client id",
                "write a common name, or a spiffe:// URI, as under [clients]",
            )
    table.finish()
    return Revoked(frozenset(serials), frozenset(clients))


def parse_serial(text: str) -> str | None:
    """A certificate's serial number, hexadecimal with or without colons, in its one spelling;
    None if it is none."""
    if not _SERIAL.fullmatch(text.lower()):
        return None
    return text.lower().replace(":", "").lstrip("0") or None


def parse_on_revoke(table: Table, default: OnRevoke) -> OnRevoke:
    """The key ``on_revoke``, of the policy or of one client."""
    return "stop" if table.choice("on_revoke", ("keep", "stop"), default) == "stop" else "keep"
