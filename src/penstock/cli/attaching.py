"""attach: joins a job that runs, from now on, as if it had been started here."""

import trio

from ..client.first_connection import Endpoint
from ..client.follow import DigestMismatch, Follower, Part
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError
from .arguments import OUR_FAILURE
from .connecting import Connecting, endpoint_for
from .descriptors import OutputFailed
from .ending_signals import HUNG_UP
from .error_report import report_line
from .exits import (
    COMMAND_NOT_FOUND,
    EXPECTED,
    complete_code,
    exit_code,
    job_code,
    may_go_on,
    message,
)
from .failures import Exit, Failed, fail
from .flags import Settings
from .job_names import handle_of
from .reconnect import SaidNews
from .sending import check_input, feed_beside_output
from .signal_handling import beside, caught_signals, hangs_up
from .sink import Apart, Sink
from .terminal import harmless


async def attach(
    settings: Settings, pid: str, stdin: bool, raw: bool, allow_gaps: bool, reconnect: float
) -> int:
    """Returns the job's own exit status, or that of the signal that has detached from it, which
    the job does not notice.

    Cancellation: minimum cleanup; C19, C21, C22.
    """
    sink = Sink(None if settings.json else Apart(raw=raw), narrate="odd")
    begun = trio.Event()

    async def take(arrived: pb.StreamOutputResponse) -> None:
        if arrived.HasField("job"):
            if stdin and not arrived.job.HasField("input"):
                _fail_without_input(pid)
            begun.set()
        await sink.take(arrived)

    async with caught_signals() as signals:
        # Scope K0.attach.
        with trio.CancelScope() as scope:
            # Cancels K0.attach.
            signals.react = scope.cancel
            try:
                if stdin:
                    await check_input()
                endpoint = await endpoint_for(settings)
                pid = await handle_of(settings, pid, reads=False)
                follower = Follower(
                    endpoint,
                    pid,
                    Part(tail_lines=0),
                    give_up_s=reconnect,
                    news=SaidNews(reconnect),
                    connecting=Connecting(settings),
                    connect_timeout_s=settings.connect_timeout_s,
                )
                async with beside(_feed, endpoint, pid, reconnect, begun if stdin else None):
                    await follower.deliver(take)
                await sink.finish()
            except EXPECTED as error:
                fail(f"Error: {_explained(pid, sink, error)}", _code(error))
    if sink.end is not None:
        code = job_code(sink.end)
        return complete_code(code, sink.missing, OUR_FAILURE, allow_gaps=allow_gaps)
    report_line(f"Detached; {_go_on(pid, sink)}", signals.exit_code)
    return signals.exit_code


async def _feed(
    endpoint: Endpoint, handle: str, reconnect_s: float, begun: trio.Event | None
) -> None:
    """Sends our input once the output is followed, so that no answer to it is missed."""
    if begun is not None:
        await begun.wait()
        await feed_beside_output(endpoint, handle, reconnect_s)


def _fail_without_input(handle: str) -> None:
    raise Failed(
        f"Error: job {harmless(handle)} was started without --stdin, so that it takes no input; "
        "attach without -i",
        OUR_FAILURE,
    )


def _explained(handle: str, sink: Sink, error: Exception) -> str:
    broken = isinstance(error, DigestMismatch)
    useful = sink.next > sink.first and may_go_on(error) and not broken
    return f"{message(error)}; {_go_on(handle, sink)}" if useful else message(error)


def _code(error: Exception) -> int:
    if isinstance(error, OutputFailed) and error.hung_up and hangs_up():
        return HUNG_UP
    not_found = isinstance(error, RpcError) and exit_code(error) == Exit.NOT_FOUND
    return COMMAND_NOT_FOUND if not_found else OUR_FAILURE


def _go_on(handle: str, sink: Sink) -> str:
    return f"go on with: penstock stream {harmless(handle)} --offset {sink.next}"
