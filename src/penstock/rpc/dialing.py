"""TCP and TLS to a server: one attempt, and why it failed."""

import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final

import trio

from .call_errors import ConnectionLost, HandshakeFailed
from .limits import Limits
from .tls.transport import TlsTransport
from .tls.transport_interface import TransportLost

# Errors of a server that is down for now, or was killed during the connect: tcp(7), connect(2).
_PASSING: Final = frozenset((errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE))


async def dial(
    host: str,
    port: int,
    ssl_context: ssl.SSLContext,
    server_hostname: str,
    refusal: Callable[[bytes], str | None],
    limits: Limits,
) -> TlsTransport:
    """A transport with its handshake done; arguments as ``open_channel`` has them. Raises
    HandshakeFailed, ConnectionLost. Cancelled, it leaves no socket open.

    Cancellation: minimum cleanup; C2.
    """
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise _not_connected(f"{host} port {port}", error) from error
    raw = socket.socket(fileno=stream.socket.detach())
    transport = None
    done = False
    try:
        transport = TlsTransport(
            raw,
            ssl_context,
            limits,
            server_side=False,
            server_hostname=server_hostname,
            refusal=refusal,
        )
        await transport.handshake(trio.Lock())
        done = True
    except TransportLost as error:
        text, may_pass = f"{host} port {port}: {error}", _was_cut(error)
        if not error.during_tls:
            raise ConnectionLost(text, may_pass=may_pass) from error
        failed = HandshakeFailed(text, may_pass=may_pass)
        failed.certificates = error.certificates
        raise failed from error
    finally:
        if transport is not None and not done:
            transport.close()
    return transport


def _was_cut(error: TransportLost) -> bool:
    """Whether the connection ended without an alert, by which a server would reject the client."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLError):
        return isinstance(cause, ssl.SSLZeroReturnError | ssl.SSLEOFError)
    if cause is None:
        return error.kind == "lost" and not error.during_tls
    return isinstance(cause, OSError) and cause.errno in _PASSING


def _not_connected(where: str, error: OSError) -> ConnectionLost:
    """The error for a failed connect. Trio keeps the error of each address in the cause.

    The text is that of the first. ``may_pass`` is set if a server may come up at any of them.
    """
    causes: list[BaseException] = [error.__cause__ or error]
    found: list[OSError] = []
    while causes:
        cause = causes.pop(0)
        if isinstance(cause, BaseExceptionGroup):
            causes += cause.exceptions
        elif isinstance(cause, OSError):
            found.append(cause)
    first = found[0] if found else error
    may_pass = any(each.errno in _PASSING for each in found)
    # strerror, because Trio's own text names the address again; a resolver's error has only str.
    text = first.strerror or str(first)
    if first.errno is not None and not isinstance(first, socket.gaierror):
        text = os.strerror(first.errno)
    return ConnectionLost(f"{where}: {text}", may_pass=may_pass)


def too_slow_for(host: str, port: int, timeout_s: float) -> ConnectionLost:
    """The error of a connection for which there is no more time."""
    return ConnectionLost(f"{host} port {port}: no connection within {timeout_s:g} s")
