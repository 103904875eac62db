"""Which of the addresses to listen on have a listener now, looked up without trying to listen."""

import contextlib
import socket
import struct
from typing import Final

from ..policy.addresses import Address

_TABLES: Final = {socket.AF_INET: "/proc/net/tcp", socket.AF_INET6: "/proc/net/tcp6"}
_LISTENS: Final = "0A"  # TCP_LISTEN, net/tcp_states.h


def in_use(address: Address) -> bool:
    """Is there a listener on this address, or on its port of every address?"""
    try:
        family, _, _, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
    except (OSError, UnicodeError):
        return False  # another check says that the name has no address
    with contextlib.suppress(OSError), open(_TABLES[family], encoding="ascii") as file:
        return is_listed(file.read(), family, str(where[0]), address.port)
    return False


def is_listed(table: str, family: int, host: str, port: int) -> bool:
    """The same, by the text of /proc/net/tcp or tcp6 (pure). Port 0 is never in use."""
    wanted = {f"{_hex(family, each)}:{port:04X}" for each in (host, _any(family))}
    lines = (line.split() for line in table.splitlines()[1:])
    return port > 0 and any(
        len(fields) > 3 and fields[3] == _LISTENS and fields[1] in wanted for fields in lines
    )


def _any(family: int) -> str:
    return "0.0.0.0" if family == socket.AF_INET else "::"


def _hex(family: int, host: str) -> str:
    """As proc(5) writes it: words of 32 bits, each in the machine's own order."""
    packed = socket.inet_pton(family, host.partition("%")[0])
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words)
