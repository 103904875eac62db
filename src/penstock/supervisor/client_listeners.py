"""The sockets on which clients connect, bound here and accepted from by servers.

The supervisor binds them before it starts its first server, never accepts or reads, and hands them
to each server as it is executed. So while there is no server, because one was killed or a planned
restart is under way, the kernel continues to complete connections into the sockets' queues, and the
next server finds them there: no client is refused.

Two servers never accept at once, because a server is started only after the one before is reaped.
A server that drains closes its descriptors first, so new connections wait for the next one; closing
resets nothing that is queued, because ours stay open. They are closed as penstockd begins to stop:
a client is refused then, instead of waiting for a server that will never come.

A queue holds BACKLOG connections. If a flood fills it while no server is there, the kernel drops
further SYNs without a word, and a client's kernel repeats them after 1, 3 and 7 s (RFC 6298 with
an initial timeout of 1 s). The next server takes the whole queue within some tenths of a second:
it looks at each connection once, and closes those whose peer has closed (rpc/tls/acceptor.py).

A server has the same open files, so one that an attacker has taken over can shut them down. So
before each start of a server they are looked at, and made to listen again. What else such a server
may have set on them (a filter, say) lasts until penstockd is restarted.
"""

import errno
import os
import socket
import time
from collections.abc import MutableMapping, Sequence
from typing import Final

from ..policy.addresses import Address
from ..policy.configuration import DEFAULT_LISTEN, Config
from .logs.supervisor_log import log
from .socket_passing import PassingError, received_sockets
from .startup import StartupError

# As many as the kernel's own bound admits by default since Linux 5.4 (net.core.somaxconn).
BACKLOG: Final = 4096
# How long an address may be in use: a server whose supervisor was killed closes its sockets as soon
# as it sees that.
_IN_USE_S: Final = 3.0
_LOOK_S: Final = 0.02
_REMEDIES: Final = {
    errno.EADDRINUSE: "stop the program that has it (ss -ltnp shows which), or name another port",
    errno.EADDRNOTAVAIL: "name an address that this machine has (ip address shows them)",
    errno.EACCES: "name a port from 1024 on, or start penstockd as root",
}


class Listeners:
    """Listening sockets of TCP, until ``close``."""

    def __init__(self, sockets: Sequence[socket.socket], warnings: Sequence[str] = ()) -> None:
        self._sockets = list(sockets)
        self.warnings = list(warnings)
        self.addresses = [address_of(each) for each in sockets]
        """Where clients connect, with the port that was found for port 0."""

    @property
    def text(self) -> str:
        """A part of the ``ready`` line: where clients connect; "" if there are no sockets."""
        where = ", ".join(str(each) for each in self.addresses)
        return f"; clients connect to {where}" if where else ""

    @property
    def fds(self) -> list[int]:
        """The descriptors that a server gets; none once they are closed."""
        return [each.fileno() for each in self._sockets]

    def listen_again(self) -> None:
        """Before a server is started: makes those that were shut down listen again, and logs it."""
        for each, address in zip(self._sockets, self.addresses, strict=True):
            if each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                continue
            try:
                each.listen(BACKLOG)
            except OSError as error:
                log(f"{address} does not listen any more: {error.strerror}; restart penstockd")
            else:
                log(f"{address}: the server before has shut it down; it listens again")

    def close(self) -> None:
        """Closes them, so that clients are refused once no server has them either. Idempotent."""
        for each in self._sockets:
            each.close()
        self._sockets.clear()
        self.addresses.clear()


def open_listeners(
    config: Config, environ: MutableMapping[str, str], *, server: bool = True
) -> Listeners:
    """The sockets that this process was started with (socket_passing.py), otherwise those that
    ``listen`` of the configuration names.

    None without a ``server``, because no process would ever accept. Raises StartupError with every
    mistake.
    """
    if not server:
        return Listeners(())
    try:
        given = received_sockets(environ)
    except PassingError as error:
        raise StartupError([str(error)]) from error
    if given:
        return Listeners(given, _unused(config, given))
    sockets: list[socket.socket] = []
    mistakes = []
    for address in config.listen:
        try:
            sockets.append(bound(address))
        except (OSError, UnicodeError) as error:
            mistakes.append(_mistake(address, error))
    if mistakes:
        for each in sockets:
            each.close()
        raise StartupError(mistakes)
    return Listeners(sockets)


def address_mistakes(config: Config, *, may_take_any_port: bool) -> list[str]:
    """Why addresses of ``listen`` could not be listened on, whatever uses them now.

    Nothing listens afterwards: a socket is bound to each address, at a port that the kernel
    chooses. ``may_take_any_port``: penstockd's user may bind ports of its own system.
    """
    mistakes = []
    for address in config.listen:
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            family, _, _, _, where = found[0]
            with socket.socket(family, socket.SOCK_STREAM) as trial:
                trial.bind((where[0], 0, *where[2:]))
            if 0 < address.port < _first_free_port() and not may_take_any_port:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except (OSError, UnicodeError) as error:
            mistakes.append(_mistake(address, error))
    return mistakes


def _first_free_port() -> int:
    """From which port on every user may listen."""
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        return int(file.read())


def bound(address: Address) -> socket.socket:
    """A non-blocking socket that listens on this address alone.

    Never on every interface by default. Of a name's addresses it takes the first, because what is
    logged and what listens must be one.
    Waits up to 3 s for an address that is in use. Raises OSError, and UnicodeError for a name that
    DNS cannot have.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    family, _, _, _, where = found[0]
    deadline = time.monotonic() + _IN_USE_S
    while True:
        try:
            return _bound(family, where)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise
        time.sleep(_LOOK_S)  # there is no event for an address that becomes free


def _bound(family: int, where: object) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections that linger from before are no hindrance then; another listener still is.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Otherwise [::] would be 0.0.0.0 as well, which the configuration does not name.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(where)  # type: ignore[arg-type]  # as getaddrinfo gave it
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def address_of(listening: socket.socket) -> Address:
    """The address that a socket is bound to."""
    host, port = listening.getsockname()[:2]
    return Address(str(host), int(port))


def _mistake(address: Address, error: OSError | UnicodeError) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):
        why = error.strerror if isinstance(error, OSError) else str(error)
        remedy = "name one that this machine's resolver knows, or an address in numbers"
        return f"listen: {address}: the name cannot be resolved: {why}; {remedy}"
    remedy = _REMEDIES.get(error.errno or 0, "name another address")
    return f"listen: {address} cannot be listened on: {error.strerror}; {remedy}"


def _unused(config: Config, given: Sequence[socket.socket]) -> list[str]:
    """A warning if the configuration names other addresses than the sockets have."""
    found = [str(address_of(each)) for each in given]
    named = [str(each) for each in config.listen]
    if named == [DEFAULT_LISTEN] or set(named) <= set(found):
        return []
    return [
        f"listen = {', '.join(named)} is not heeded: penstockd was started with sockets of "
        f"{', '.join(found)} (LISTEN_FDS)"
    ]
