"""A start that is asked for as often as it takes and happens once, under one request id."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import trio
from google.rpc.error_details_pb2 import RetryInfo

from ..client.client import CONNECT_S, Client, Connect, Endpoint, connect
from ..client.retry import RETRY_S, was_lost
from ..concurrency.interrupts import uninterrupted_context
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError, StatusCode
from .signal_handling import Signals
from .standard import complain
from .terminal import harmless

_FIRST_PAUSE_S: Final = 0.1
# However little time is left, an attempt gets so much of it.
_LEAST_ATTEMPT_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 2.0
# After ^C: a start takes some tens of milliseconds, so an answer that can be had comes by then.
ANSWER_S: Final = 3.0

_UNKNOWN: Final = "whether the job was started is not known; look for it with: penstock list"
# What tells nothing about whether the job was started.
_OPEN: Final = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.CANCELLED,
        StatusCode.UNKNOWN,
        StatusCode.INTERNAL,
    }
)


def _leaves_open(error: RpcError) -> bool:
    """May the job run? Not when the service has refused it for now: then it says for how long."""
    return error.code in _OPEN and not any(isinstance(item, RetryInfo) for item in error.details)


class RepeatedStart:
    """One start. ``asked``: the server may have heard of it. ``job``: it has answered."""

    def __init__(
        self,
        command: str,
        arguments: Sequence[str],
        *,
        stdin: bool = False,
        connecting: Connect = connect,
    ) -> None:
        self.job: pb.Job | None = None
        self.asked = False
        self._command = command
        self._arguments = arguments
        self._stdin = stdin
        self._connecting = connecting
        # The same id gives the job of the first time, restarts of the server included.
        self._request_id = str(uuid.uuid4())

    @uninterrupted_context
    @asynccontextmanager
    async def connected(self, endpoint: Endpoint) -> AsyncIterator[Client]:
        """A connection on which the start has been answered: ``job`` is there.

        When the connection or the server goes before the answer, for RETRY_S another one is
        made and the start repeated under its id; a first one that ``connecting`` could not make is
        not tried for again.
        An error that leaves it open whether a job runs has a note that says so. Raises what
        ``connect`` and ``Client.start`` raise. Cancelled: if ``asked``, the job may run.

        Cancellation: minimum cleanup; C4, C22.
        """
        give_up: float | None = None
        pause_s = _FIRST_PAUSE_S
        opened = self._connecting(endpoint)
        while True:
            try:
                async with opened as client:
                    self.asked = True
                    self.job = await client.start(
                        self._command,
                        self._arguments,
                        request_id=self._request_id,
                        stdin=self._stdin,
                    )
                    yield client
                    return
            except RpcError as error:
                if self.job is not None or not self.asked:
                    raise  # of who uses the connection; or nothing has been asked for
                if give_up is None:
                    give_up = trio.current_time() + RETRY_S
                if not was_lost(error) or trio.current_time() + pause_s > give_up:
                    if _leaves_open(error):
                        error.add_note(_UNKNOWN)
                    raise
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            left_s = max(_LEAST_ATTEMPT_S, give_up - trio.current_time())
            opened = self._connecting(endpoint, connect_timeout_s=min(CONNECT_S, left_s))

    def hurry(self, signals: Signals, scope: trio.CancelScope) -> None:
        """The reaction to a signal: the first lets ``scope`` wait ANSWER_S for an answer that
        is under way, a second one, or the first before anything was asked, ends it."""
        if self.job is not None:
            return
        if signals.count > 1 or not self.asked:
            # Cancels K0.start, K0.run.
            scope.cancel()
            return
        # Deadline K0.start, K0.run.
        scope.deadline = trio.current_time() + ANSWER_S
        complain(f"Waiting {ANSWER_S:g} s for the server's answer; ^C again to leave at once")

    def interrupted_text(self) -> str:
        """What became of the start, for who has interrupted it."""
        if self.job is not None:
            handle = harmless(self.job.handle)
            return f"Interrupted, but job {handle} was started; end it with: penstock stop {handle}"
        if self.asked:
            return f"Interrupted: {_UNKNOWN}"
        return "Interrupted before the server was asked: nothing was started"
