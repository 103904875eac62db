"""Single calls over as many connections as it takes, each as far as it may be repeated.

    job = await start_job(endpoint, "logs", ["-n", "20"])  # one job, however many attempts
    await stop_job(endpoint, job.handle, grace_s=3)
    job = await wait_for_job(endpoint, job.handle)

Each makes connections of its own; ``endpoint`` is a ``penstock.client.Endpoint``. ``ask`` does so
for any other call of a ``Client``.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import trio

from ..concurrency.interrupts import uninterrupted, uninterrupted_context
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError, StatusCode
from .client import Client
from .first_connection import Connect, Endpoint, connect
from .retry import GIVE_UP_S, RETRY_S, Attempts, asks_to_wait, was_lost

ResultT = TypeVar("ResultT")

START_UNKNOWN: Final = "whether the job was started is not known; look for it with: penstock list"
# Errors that leave it open whether the job was started.
_OPEN: Final = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.CANCELLED,
        StatusCode.UNKNOWN,
        StatusCode.INTERNAL,
    }
)


@uninterrupted
async def ask(
    endpoint: Endpoint,
    call: Callable[[Client], Awaitable[ResultT]],
    *,
    repeatable: bool,
    give_up_s: float = RETRY_S,
    reached: bool = False,
    connecting: Connect = connect,
    on_lost: Callable[[RpcError], None] = lambda error: None,
) -> ResultT:
    """What ``call`` returns, which is given a connection. After a loss of that or of the server,
    reconnects and calls it again, for ``give_up_s`` seconds, which begin anew when a connection has
    stood for five seconds; calls ``on_lost`` for each loss.

    ``repeatable``: a second call does no harm, because it reads, or its effect is the same twice.
    Otherwise it is repeated only if the server reports that it has not begun it. ``connecting``
    makes connections; if the first one fails there is no retry, unless ``reached`` says that the
    server was there a moment ago. Raises what ``connecting`` and ``call`` raise. Cancelled: the
    server may carry out the call all the same.

    Cancellation: minimum cleanup.
    """
    attempts = Attempts(endpoint, give_up_s, connecting=connecting, reached=reached)

    async def attempt(client: Client) -> ResultT:
        begun_at = trio.current_time()
        try:
            return await call(client)
        except RpcError:
            attempts.progress_if_stood(begun_at)
            raise

    def passes(error: RpcError) -> bool:
        unharmed = repeatable or not attempts.connected
        return error.not_begun or (was_lost(error) and unharmed and attempts.reached)

    return await attempts.make(attempt, passes=passes, on_lost=on_lost)


class RepeatedStart:
    """One start, under one request id. ``asked``: the request may have reached the server. ``job``:
    the server's answer. For a caller that needs to know how far the start came, or its connection;
    otherwise use ``start_job``."""

    def __init__(
        self,
        command: str,
        arguments: Sequence[str] = (),
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 0.0,
        stdin: bool = False,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        give_up_s: float = RETRY_S,
        connecting: Connect = connect,
    ) -> None:
        """The job is what ``Client.start`` has. ``give_up_s``: how long to try after a loss."""
        self.job: pb.Job | None = None
        self.asked = False
        self._command = command
        self._arguments = arguments
        self._env = env
        self._timeout_s = timeout_s
        self._stdin = stdin
        self._name = name
        self._labels = labels
        self._give_up_s = give_up_s
        self._connecting = connecting
        # So that a repeated request gets the first one's job, even from a restarted server.
        self._request_id = str(uuid.uuid4())

    @uninterrupted_context
    @asynccontextmanager
    async def connected(self, endpoint: Endpoint) -> AsyncIterator[Client]:
        """A connection on which the start has been answered: ``job`` is there.

        If the connection or the server is lost before the answer, reconnects for ``give_up_s``
        seconds and repeats the start under its id; if the first connection fails there is no retry.
        An error that leaves it open whether a job runs has a note that says so. Raises what
        ``connect`` and ``Client.start`` raise. Cancelled: if ``asked``, the job may run.

        Cancellation: minimum cleanup; C4, C22.
        """
        attempts = Attempts(endpoint, self._give_up_s, connecting=self._connecting)

        def passes(error: RpcError) -> bool:
            return self.asked and was_lost(error)

        try:
            async with attempts.answered(self._start, passes=passes) as (client, _):
                yield client
        except RpcError as error:
            if self.asked and self.job is None and _leaves_open(error):
                error.add_note(START_UNKNOWN)
            raise

    async def _start(self, client: Client) -> None:
        self.asked = True
        self.job = await client.start(
            self._command,
            self._arguments,
            env=self._env,
            request_id=self._request_id,
            timeout_s=self._timeout_s,
            stdin=self._stdin,
            name=self._name,
            labels=self._labels,
        )


@uninterrupted
async def start_job(
    endpoint: Endpoint,
    command: str,
    arguments: Sequence[str] = (),
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 0.0,
    stdin: bool = False,
    name: str = "",
    labels: Mapping[str, str] | None = None,
    give_up_s: float = RETRY_S,
    connecting: Connect = connect,
) -> pb.Job:
    """The job of one start, repeated under one request id until the server answers, for
    ``give_up_s`` seconds after a loss. ``timeout_s``: how many seconds the job may run; 0: as long
    as its command may. ``name`` and ``labels`` as in ``Client.start``.

    Raises what ``connecting`` and ``Client.start`` raise; with a note where it is not known
    whether the job runs. Cancelled: the job may run.

    Cancellation: minimum cleanup; C4.
    """
    start = RepeatedStart(
        command,
        arguments,
        env=env,
        timeout_s=timeout_s,
        stdin=stdin,
        name=name,
        labels=labels,
        give_up_s=give_up_s,
        connecting=connecting,
    )
    async with start.connected(endpoint):
        assert start.job is not None
        return start.job


@uninterrupted
async def stop_job(
    endpoint: Endpoint,
    handle: str,
    *,
    grace_s: float | None = None,
    reason: str = "",
    signal: str = "",
    no_wait: bool = False,
    give_up_s: float = RETRY_S,
    reached: bool = False,
    connecting: Connect = connect,
) -> pb.StopResponse:
    """The answer to a stop, repeated over lost connections and restarts of the server, for
    ``give_up_s`` seconds each time, because a repeated stop is the same stop.

    ``grace_s``: seconds between the first signal (``signal``, "TERM", or the command's own) and
    KILL; None: as the command has it. ``no_wait``: answered once the stop is under way. ``reached``
    as in ``ask``. Raises what ``connecting`` and ``Client.stop`` raise. Cancelled: the stop is
    carried through if the request has reached the server.

    Cancellation: minimum cleanup; C6.
    """

    async def stop(client: Client) -> pb.StopResponse:
        return await client.stop(
            handle, grace_s=grace_s, reason=reason, signal=signal, no_wait=no_wait
        )

    return await ask(
        endpoint,
        stop,
        repeatable=True,
        give_up_s=give_up_s,
        reached=reached,
        connecting=connecting,
    )


@uninterrupted
async def wait_for_job(
    endpoint: Endpoint,
    handle: str,
    *,
    give_up_s: float = GIVE_UP_S,
    connecting: Connect = connect,
    on_lost: Callable[[RpcError], None] = lambda error: None,
) -> pb.Job:
    """The job, with its end, once it has ended; over lost connections and restarts of the server,
    for ``give_up_s`` seconds each time. Calls ``on_lost`` for each loss.

    Raises what ``connecting`` and ``Client.wait`` raise. Cancelled: the job runs on.

    Cancellation: minimum cleanup; C8.
    """

    async def wait(client: Client) -> pb.Job:
        return await client.wait(handle)

    return await ask(
        endpoint,
        wait,
        repeatable=True,
        give_up_s=give_up_s,
        connecting=connecting,
        on_lost=on_lost,
    )


def _leaves_open(error: RpcError) -> bool:
    """Whether the job may run. Not if the service has refused it for now, with a retry delay."""
    return error.code in _OPEN and not asks_to_wait(error)
