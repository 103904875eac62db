"""Connections of the command line: how long the first is retried, and what the user sees then."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import trio

from ..client.client import Client
from ..client.first_connection import Connect, Endpoint, connect
from ..client.repeated_calls import ask
from ..client.retry import RETRY_S
from ..concurrency.interrupts import uninterrupted, uninterrupted_context
from ..rpc.call_errors import RpcError
from .apart import apart
from .connection_settings import endpoint_of
from .flags import Settings
from .invocation import current
from .signal_handling import beside
from .standard import complain
from .terminal import harmless

ResultT = TypeVar("ResultT")

_SAID_AFTER_S: Final = 1.0


def connector() -> Connect:
    """What makes connections for this command line: a host may have one for several."""
    return current().connector or connect


async def endpoint_for(settings: Settings) -> Endpoint:
    """As ``endpoint_of``, which reads files and may ask for a passphrase.

    No checkpoint in a process that runs one command line.

    Cancellation: minimum cleanup.
    """
    return await apart(endpoint_of, settings)


class Connecting:
    """``penstock.client.connect`` for one command line: retries the first connection for as long
    as ``--connect-timeout`` says, and reports after a second on a terminal that it waits."""

    def __init__(self, settings: Settings) -> None:
        self._connect = connector()
        self._timeout_s = settings.connect_timeout_s
        self._silent = not current().err.terminal

    @uninterrupted_context
    @asynccontextmanager
    async def __call__(
        self, endpoint: Endpoint, *, connect_timeout_s: float | None = None
    ) -> AsyncIterator[Client]:
        """A connected client. Raises what ``connect`` raises.

        Cancellation: minimum cleanup; C2.
        """
        timeout_s = self._timeout_s if connect_timeout_s is None else connect_timeout_s
        if self._silent:
            async with self._connect(endpoint, connect_timeout_s=timeout_s) as client:
                yield client
            return
        self._silent = True  # because a later loss has its own message
        connected = trio.Event()
        async with (
            beside(_say_if_late, endpoint, connected, timeout_s),
            self._connect(endpoint, connect_timeout_s=timeout_s) as client,
        ):
            connected.set()
            yield client


@uninterrupted
async def _say_if_late(endpoint: Endpoint, connected: trio.Event, timeout_s: float) -> None:
    # Scope K0.late.
    with trio.move_on_after(_SAID_AFTER_S):
        await connected.wait()
        return
    bound = f" for at most {timeout_s:g} s" if timeout_s else ""
    where = harmless(f"{endpoint.host} port {endpoint.port}")
    complain(f"Waiting{bound} for the server at {where}")


async def asked(
    settings: Settings,
    call: Callable[[Client], Awaitable[ResultT]],
    *,
    repeatable: bool = True,
    give_up_s: float = RETRY_S,
    on_lost: Callable[[RpcError], None] = lambda error: None,
) -> ResultT:
    """What ``call`` returns, over lost connections and restarts of the server, as
    ``penstock.client.ask`` has it.

    Cancellation: minimum cleanup.
    """
    connecting = Connecting(settings)
    return await ask(
        await endpoint_for(settings),
        call,
        repeatable=repeatable,
        give_up_s=give_up_s,
        connecting=connecting,
        on_lost=on_lost,
    )
