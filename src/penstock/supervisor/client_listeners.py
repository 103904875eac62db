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
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
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
    """Listening sockets of TCP, until ``close``. ``named`` are the addresses of the configuration
    that they are of; None if they were handed to this process."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        warnings: Sequence[str] = (),
        named: Sequence[Address] | None = (),
    ) -> None:
        self._sockets = list(sockets)
        self._named = named
        self._next: dict[Address, socket.socket] | None = None
        self.warnings = list(warnings)
        self.addresses = [address_of(each) for each in sockets]
        """Where clients connect, with the port that was found for port 0."""

    @property
    def handed(self) -> bool:
        """Was this process started with them, so that no configuration names them?"""
        return self._named is None

    def missing(self, named: Sequence[Address]) -> list[Address]:
        """Those of ``named`` that have no socket yet."""
        return [each for each in named if each not in (self._named or ())]

    def take_up(self, named: Sequence[Address], bound: Mapping[Address, socket.socket]) -> None:
        """From the next server on clients connect to ``named``; ``bound`` are sockets of those that
        were missing. Until then they do not listen, so that no client waits for that server."""
        self._forget_next()
        if self._named is not None:
            self._next = dict(self._known(named)) | dict(bound)

    def _known(self, named: Sequence[Address]) -> Iterator[tuple[Address, socket.socket]]:
        for address, each in zip(self._named or (), self._sockets, strict=True):
            if address in named:
                yield address, each

    def _forget_next(self) -> None:
        for each in (self._next or {}).values():
            if each not in self._sockets:
                each.close()
        self._next = None

    @property
    def text(self) -> str:
        """A part of the ``ready`` line: where clients connect; "" if there are no sockets."""
        where = ", ".join(str(each) for each in self.addresses)
        return f"; clients connect to {where}" if where else ""

    @property
    def fds(self) -> list[int]:
        """The descriptors that a server gets; none once they are closed. Without those that do not
        listen, because no server could begin with them."""
        return [each.fileno() for each in self._sockets if _listens(each)]

    def listen_again(self) -> None:
        """Before a server is started: makes those that were shut down listen again, and logs it.
        What ``take_up`` was given last counts from now on."""
        if self._next is not None:
            self._replace(self._next)
        for each, address in zip(self._sockets, self.addresses, strict=True):
            if _listens(each):
                continue
            try:
                each.listen(BACKLOG)
            except OSError as error:
                log(
                    f"{address} cannot be listened on: {error.strerror}; clients cannot connect "
                    "there until a later server of this penstockd can"
                )
            else:
                why = "the server before has shut it down, or another program had it"
                log(f"{address}: {why}; it listens again")

    def _replace(self, others: Mapping[Address, socket.socket]) -> None:
        """Without one that can be listened on the sockets stay, as no client could connect
        otherwise."""
        wrong = _listen_on(others)
        for text in wrong:
            log(text)
        if len(wrong) == len(others):
            log(f"listen: clients connect to {', '.join(map(str, self.addresses))} as before")
            self._forget_next()
            return
        for each in self._sockets:
            if each not in others.values():
                each.close()
        before = list(self.addresses)
        self._next, self._named = None, list(others)
        self._sockets = list(others.values())
        self.addresses = [address_of(each) for each in self._sockets]
        if self.addresses != before:
            log(f"clients connect to {', '.join(map(str, self.addresses))} from now on")

    def close(self) -> None:
        """Closes them, so that clients are refused once no server has them either. Idempotent."""
        self._forget_next()
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
        return Listeners(given, unused(config, [str(address_of(each)) for each in given]), None)
    sockets, mistakes = bind(config.listen)
    if mistakes:
        for each in sockets:
            each.close()
        raise StartupError(mistakes)
    return Listeners(sockets, named=config.listen)


def bind(
    addresses: Sequence[Address], *, later: bool = False
) -> tuple[list[socket.socket], list[str]]:
    """A socket for each address that can be had, and mistakes for the others. ``later``: they do
    not listen yet, and an address in use is not waited for."""
    sockets: list[socket.socket] = []
    mistakes = []
    for address in addresses:
        try:
            sockets.append(bound(address, later=later))
        except (OSError, UnicodeError) as error:
            mistakes.append(_mistake(address, error))
    return sockets, mistakes


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


def bound(address: Address, *, later: bool = False) -> socket.socket:
    """A non-blocking socket that listens on this address alone; ``later``: that only has it.

    Never on every interface by default. Of a name's addresses it takes the first, because what is
    logged and what listens must be one.
    Waits up to 3 s for an address that is in use, unless ``later``. Raises OSError, and
    UnicodeError for a name that DNS cannot have.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    family, _, _, _, where = found[0]
    deadline = time.monotonic() + (0.0 if later else _IN_USE_S)
    while True:
        try:
            return _bound(family, where, later=later)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise
        time.sleep(_LOOK_S)  # there is no event for an address that becomes free


def _bound(family: int, where: object, *, later: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections that linger from before are no hindrance then; another listener still is.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Otherwise [::] would be 0.0.0.0 as well, which the configuration does not name.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(where)  # type: ignore[arg-type]  # as getaddrinfo gave it
        if not later:
            made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _listen_on(sockets: Mapping[Address, socket.socket]) -> list[str]:
    """Has those of them listen that do not yet. Returns a text for each that cannot."""
    wrong = []
    for each in sockets.values():
        if not _listens(each):
            try:
                each.listen(BACKLOG)
            except OSError as error:
                wrong.append(_mistake(address_of(each), error))
    return wrong


def _listens(bound_socket: socket.socket) -> bool:
    return bool(bound_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


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


def unused(config: Config, found: Sequence[str]) -> list[str]:
    """A warning if the configuration names other addresses than the sockets have, which this
    process was started with."""
    named = [str(each) for each in config.listen]
    if named == [DEFAULT_LISTEN] or set(named) <= set(found):
        return []
    return [
        f"listen = {', '.join(named)} is not heeded: penstockd was started with sockets of "
        f"{', '.join(found)} (LISTEN_FDS)"
    ]
