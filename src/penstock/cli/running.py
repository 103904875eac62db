"""run: starts a job, follows its output, and exits as the job does."""

from collections.abc import Mapping

import trio

from ..client.first_connection import Endpoint
from ..client.follow import DigestMismatch, Follower
from ..client.repeated_calls import RepeatedStart
from .arguments import OUR_FAILURE
from .connecting import Connecting, connector, endpoint_for
from .descriptors import OutputFailed
from .error_report import report_line
from .exits import EXPECTED, complete_code, job_code, may_go_on, message, start_code
from .failures import fail
from .flags import Settings
from .interrupted_start import interrupted_text
from .reconnect import SaidNews
from .sending import check_input, feed_beside_output
from .signal_handling import beside, caught_signals
from .sink import Apart, Sink
from .starting import start
from .stop_request import StopRequest
from .terminal import harmless


async def run(
    settings: Settings,
    raw: bool,
    stdin: bool,
    timeout_s: float,
    env: Mapping[str, str],
    job_name: str,
    labels: Mapping[str, str],
    detach: bool,
    quiet: bool,
    allow_gaps: bool,
    reconnect: float,
    command: str,
    arguments: tuple[str, ...],
) -> int:
    """Returns the job's own exit status, or that of the signal that has detached from it;
    with ``detach`` what ``start`` returns.

    Cancellation: minimum cleanup; C4, C22.
    """
    if detach:
        return await start(
            settings,
            stdin=stdin,
            timeout_s=timeout_s,
            env=env,
            job_name=job_name,
            labels=labels,
            quiet=quiet,
            detach=detach,
            command=command,
            arguments=arguments,
        )
    connecting = Connecting(settings)
    attempt = RepeatedStart(
        command,
        arguments,
        env=env,
        timeout_s=timeout_s,
        stdin=stdin,
        name=job_name,
        labels=labels,
        connecting=connecting,
    )
    sink = Sink(None if settings.json else Apart(raw=raw), narrate="odd")
    async with caught_signals() as signals:
        # Scope K0.run.
        with trio.CancelScope() as scope:
            stop = StopRequest(attempt, signals, scope)
            signals.react = stop.react
            try:
                endpoint = await endpoint_for(settings)
                if stdin:
                    await check_input()  # otherwise the job would wait for ever for its input
                async with attempt.connected(endpoint) as client:
                    assert attempt.job is not None
                    # Reset, because an interrupt may have set one, for the answer alone.
                    # Deadline K0.run.
                    scope.deadline = float("inf")
                    handle = attempt.job.handle
                    follower = Follower(
                        endpoint,
                        handle,
                        give_up_s=reconnect,
                        news=SaidNews(reconnect),
                        connecting=connector(),
                    )
                    async with (
                        beside(stop.send_when_asked, endpoint, handle, connecting),
                        beside(_feed, endpoint, handle, reconnect, stdin),
                    ):
                        failure = None
                        try:
                            await follower.deliver(sink.take, client=client)
                        except OutputFailed as error:
                            failure = error
                        if failure is not None:
                            await stop.wait_over_if_asked(failure)
                            raise failure
                    await sink.finish()
            except DigestMismatch as error:
                fail(f"Error: {message(error)}", OUR_FAILURE)
            except EXPECTED as error:
                if attempt.job is None:
                    fail(f"Error: {message(error)}", start_code(error))
                detached = _detached(attempt.job.handle, sink, may_go_on=may_go_on(error))
                code = signals.exit_code if isinstance(error, OutputFailed) else 0
                fail(f"Error: {message(error)}\n{detached}", code or OUR_FAILURE)
    if sink.end is not None:
        code = job_code(sink.end)
        return complete_code(code, sink.missing, OUR_FAILURE, allow_gaps=allow_gaps)
    if attempt.job is None:
        report_line(interrupted_text(attempt), signals.exit_code)
    else:
        report_line(_detached(attempt.job.handle, sink), signals.exit_code)
    return signals.exit_code


async def _feed(endpoint: Endpoint, handle: str, reconnect_s: float, stdin: bool) -> None:
    if stdin:
        await feed_beside_output(endpoint, handle, reconnect_s)


def _detached(handle: str, sink: Sink, *, may_go_on: bool = True) -> str:

    shown = harmless(handle)
    if not may_go_on:
        return f"Detached from job {shown}"
    go_on = f"penstock stream {shown} --offset {sink.next}"
    return f"Detached from job {shown}; go on with: {go_on}"
