"""One connection for all that the shell does, which comes back by itself."""

import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from typing import Final

import trio

from ...client.backoff import Backoff
from ...client.client import Client
from ...client.first_connection import CONNECT_S, Endpoint, connect
from ...concurrency.interrupts import uninterrupted_context, uninterrupted_methods
from ...rpc.call_errors import ConnectionLost
from ..exits import EXPECTED, message

_STOOD_S: Final = 5.0
# A verb that asks for the connection does so at once, but not more often than this.
_LEAST_PAUSE_S: Final = 0.1


class LinkState(Enum):
    """Of the shared connection."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "not connected"


class LinkNews:
    """What the user is told of the shared connection's states."""

    def __init__(self) -> None:
        self._connected_before = False
        self._told_lost = False

    def of(self, state: LinkState, failure: str) -> str:
        """The line to show for this state, "" if there is nothing new."""
        lost, before = self._told_lost, self._connected_before
        if state is LinkState.CONNECTED:
            self._connected_before, self._told_lost = True, False
            return "Connected again" if lost else ""
        self._told_lost = True
        if lost:
            return ""  # once per loss, although further attempts fail
        begin = "Connection lost" if before else "Not connected"
        return f"{begin} ({failure}); trying to connect until you leave"


@uninterrupted_methods
class SharedConnection:
    """While ``run`` runs, the one connection to ``endpoint``, made anew after each loss; called
    with that endpoint it gives this one, as ``client.connect`` gives a new one. A server that
    drains keeps the calls of its connection, while new ones get the next connection.

    ``state``, and ``failure``: why there is none, a line for people. ``on_change`` is called when
    either has changed.
    """

    def __init__(self, endpoint: Endpoint, on_change: Callable[[], None]) -> None:
        self.state = LinkState.CONNECTING
        self.failure = ""
        self._endpoint = endpoint
        self._on_change = on_change
        self._held: _HeldClient | None = None
        self._error: BaseException | None = None
        self._attempts = 0
        """How many have ended."""
        self._changed = trio.Event()
        self._wanted = trio.Event()

    async def run(self) -> None:
        """Connects, and again after each loss. Never returns.

        Cancellation: minimum cleanup; C2.
        """
        backoff = Backoff(math.inf)
        # Scope K0.shared.
        async with trio.open_nursery() as nursery:
            while True:
                begun = trio.current_time()
                lost: trio.Event | None = await nursery.start(self._hold)
                if lost is not None:
                    await lost.wait()
                    if trio.current_time() - begun >= _STOOD_S:
                        backoff.progress()
                self._wanted = trio.Event()
                await trio.sleep(_LEAST_PAUSE_S)
                pause_s = backoff.pause_s(trio.current_time()) or _LEAST_PAUSE_S
                # Scope K0.shared_pause.
                with trio.move_on_after(pause_s):
                    await self._wanted.wait()

    async def wait_connected(self) -> None:
        """Returns when there is a connection.

        Cancellation: atomic; C2.
        """
        await trio.lowlevel.checkpoint()
        while self._held is None:
            await self._changed.wait()

    async def _hold(  # noqa: ASYNC114  # started above, not as a context manager
        self, task_status: trio.TaskStatus[trio.Event | None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """One connection, as long as it stands or is used. First tells the event of its loss; None
        if there is no connection."""
        lost = trio.Event()
        held = None
        try:
            async with connect(self._endpoint, connect_timeout_s=0) as client:
                held = _HeldClient(client)
                self._set(held)
                task_status.started(lost)
                self._lose(await client.channel.wait_unusable())
                lost.set()
                await held.unused()
        except EXPECTED as error:
            if held is None:
                self._lose(error)
                task_status.started(None)
            elif not lost.is_set():
                self._lose(error)
                lost.set()

    def _set(self, held: "_HeldClient") -> None:
        self._held, self._error = held, None
        self._attempts += 1
        self._note(LinkState.CONNECTED, "")

    def _lose(self, error: BaseException) -> None:
        self._held, self._error = None, error
        self._attempts += 1
        self._note(LinkState.LOST, message(error))

    def _note(self, state: LinkState, failure: str) -> None:
        told = (self.state, self.failure)
        self.state, self.failure = state, failure
        self._changed.set()
        self._changed = trio.Event()
        if told != (state, failure):
            self._on_change()

    @uninterrupted_context
    @asynccontextmanager
    async def __call__(
        self, endpoint: Endpoint, *, connect_timeout_s: float = CONNECT_S
    ) -> AsyncIterator[Client]:
        """The shared connection, for whose return it waits for ``connect_timeout_s``; with 0 until
        the next attempt has ended. A new one to another endpoint, and where another attempt is no
        help, so that the error is the caller's own. Raises what ``connect`` raises.

        Cancellation: minimum cleanup; C2.
        """
        if endpoint == self._endpoint:
            shared = await self._usable(connect_timeout_s)
            if shared is not None:
                with shared.in_use():
                    yield shared.client
                return
        async with connect(endpoint, connect_timeout_s=connect_timeout_s) as client:
            yield client

    async def _usable(self, within_s: float) -> "_HeldClient | None":
        """The client; None if only an attempt of one's own tells why there is none. Raises
        ConnectionLost if there is none in time."""
        await trio.lowlevel.checkpoint()
        begun = self._attempts
        # Scope K0.shared_wait.
        with trio.move_on_after(within_s or CONNECT_S):
            while self._held is None:
                passing = isinstance(self._error, ConnectionLost) and self._error.may_pass
                if self._error is not None and not passing:
                    return None
                if not within_s and self._attempts > begun and self._error is not None:
                    break
                self._wanted.set()
                await self._changed.wait()
        if self._held is None:
            tried = f"; tried for {within_s:g} s" if within_s else ""
            raise ConnectionLost(f"{self.failure or 'no connection'}{tried}", may_pass=True)
        return self._held


class _HeldClient:
    """A connection, and how many use it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._users = 0
        self._unused = trio.Event()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def unused(self) -> None:
        while self._users:
            self._unused = trio.Event()
            await self._unused.wait()
