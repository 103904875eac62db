"""How a client connects: to which server, as whom, and how long it tries for a first connection."""

import os
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar, TypeVarTuple

import trio

from ..concurrency.interrupts import uninterrupted_context
from ..concurrency.own_thread import in_own_thread
from ..pki.fingerprints import read_fingerprint
from ..rpc.channel import ConnectionLost, HandshakeFailed, open_channel
from .backoff import Backoff
from .client import Client
from .identity import handshake_hint, load_identity
from .pinning import refusal_by_pin

ResultT = TypeVar("ResultT")
ArgumentsT = TypeVarTuple("ArgumentsT")

CONNECT_S: Final = 10.0
"""How long to try for a first connection: a server that is restarted is there within some seconds,
and one that drains first within its ``drain_s`` and those."""

# Between two attempts, from 0.1 s on. Short, because a user waits for the connection, and a refused
# attempt costs next to nothing.
_LONGEST_PAUSE_S: Final = 1.0
# An attempt after others gets so much even if less time is left, so that it can succeed.
_LEAST_ATTEMPT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's address and our identity there. PEM files; ``passphrase`` is the key's.

    ``server_name`` is the name that the server's certificate must have, and that the server is
    asked for; None: ``host``. ``server_fingerprint`` is the SHA-256 of that certificate, in any
    form that ``read_fingerprint`` takes: with it the names in the certificate do not count, and
    ``ca`` may be None.
    """

    host: str
    port: int
    ca: Path | None
    certificate: Path
    key: Path
    passphrase: bytes | None = None
    server_name: str | None = None
    server_fingerprint: str | None = None


class Connect(Protocol):
    """The type of ``connect``, for callers that pass a connect function of their own."""

    def __call__(
        self, endpoint: Endpoint, *, connect_timeout_s: float = ...
    ) -> AbstractAsyncContextManager[Client]:
        """A connected client for the time of the block; errors as those of ``connect``."""
        ...


@uninterrupted_context
@asynccontextmanager
async def connect(
    endpoint: Endpoint,
    *,
    timeout_s: float | None = 30.0,
    connect_timeout_s: float = CONNECT_S,
) -> AsyncIterator[Client]:
    """A connected client. ``timeout_s`` bounds each call that should be quick.

    Retries a connection that is refused, reset or cut off before the server has sent anything, as
    by one that is restarted, until ``connect_timeout_s`` have passed; with 0 there is one attempt
    of 10 s. Never retries a name that does not resolve, a network without a route, what TLS
    refuses, and a connection that was there, because waiting does not mend these.

    Raises KeyModeError if others can read the key, IdentityError if a file cannot be used,
    HandshakeFailed (with a note of what to look at, where that is known), ConnectionLost, and
    ValueError for a time below 0, and for a fingerprint that is none.

    Cancellation: minimum cleanup; C2, C30, C34, C49.
    """
    if not connect_timeout_s >= 0:
        raise ValueError(f"connect_timeout_s is {connect_timeout_s!r}, and must be at least 0")
    pin = endpoint.server_fingerprint
    pin = None if pin is None else read_fingerprint(pin)
    refusal = refusal_by_pin(pin, judge_dates=endpoint.ca is None)
    context = await _read_files(endpoint, _context_for, endpoint)
    backoff = Backoff(connect_timeout_s, longest_s=_LONGEST_PAUSE_S)
    attempt_s = connect_timeout_s or CONNECT_S
    give_up_at = trio.current_time() + connect_timeout_s
    while True:
        connected = False
        try:
            async with open_channel(
                endpoint.host,
                endpoint.port,
                context,
                server_hostname=endpoint.server_name,
                refusal=refusal,
                connect_timeout_s=attempt_s,
            ) as channel:
                connected = True
                yield Client(channel, timeout_s)
                return
        except ConnectionLost as error:
            if connected:
                raise
            lost = error
        left_s = give_up_at - trio.current_time()
        pause_s = backoff.pause_s(trio.current_time()) if lost.may_pass else None
        if pause_s is None or left_s <= 0:
            await _read_files(endpoint, _explain, lost, endpoint, connect_timeout_s)
            raise lost
        await trio.sleep(min(pause_s, left_s))
        left_s = give_up_at - trio.current_time()
        attempt_s = min(connect_timeout_s, max(_LEAST_ATTEMPT_S, left_s))


def _context_for(endpoint: Endpoint) -> ssl.SSLContext:
    return load_identity(
        endpoint.ca,
        endpoint.certificate,
        endpoint.key,
        endpoint.passphrase,
        pinned=endpoint.server_fingerprint is not None,
    )


async def _read_files(
    endpoint: Endpoint, function: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT
) -> ResultT:
    """What the function returns, which reads the endpoint's files. In a thread if one of them is a
    pipe or the like, because its writer may never come, and the program's other tasks would wait.

    Cancelled: the thread is left, and its result discarded. No checkpoint for plain files.

    Cancellation: minimum cleanup.
    """
    paths = (endpoint.ca, endpoint.certificate, endpoint.key)
    if not any(_may_wait(path) for path in paths if path is not None):
        return function(*arguments)
    return await in_own_thread(function, *arguments)


def _may_wait(path: Path) -> bool:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False  # what opens it next reports the error
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _explain(error: ConnectionLost, endpoint: Endpoint, tried_s: float) -> None:
    """Adds notes: how long it was tried, or which of our files or settings to check."""
    if error.may_pass and tried_s:
        error.add_note(f"tried for {tried_s:g} s")
    elif isinstance(error, HandshakeFailed):
        name = endpoint.server_name or endpoint.host
        if hint := handshake_hint(error, name, endpoint.ca, endpoint.certificate):
            error.add_note(hint)
