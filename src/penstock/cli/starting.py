"""start: starts a job, and prints its handle."""

from collections.abc import Mapping
from functools import partial

import trio

from ..client.repeated_calls import RepeatedStart
from ..proto import command_pb2 as pb
from .connecting import Connecting, endpoint_for
from .error_report import report_line
from .flags import Settings
from .interrupted_start import hurry, interrupted_text
from .invocation import current
from .printing import say_json
from .signal_handling import caught_signals
from .standard import complain, say
from .terminal import harmless
from .writing import drain


async def start(
    settings: Settings,
    stdin: bool,
    timeout_s: float,
    env: Mapping[str, str],
    job_name: str,
    labels: Mapping[str, str],
    quiet: bool,
    detach: bool,  # noqa: ARG001  what it does anyway
    command: str,
    arguments: tuple[str, ...],
) -> int:
    """Prints the handle, even if a signal came first; returns that signal's exit status then.

    Cancellation: minimum cleanup; C4, C22.
    """
    if not settings.json and not quiet:
        behind = f" with {' '.join(arguments)}" if arguments else ""
        say(harmless(f"Starting {command}{behind}..."))
    attempt = RepeatedStart(
        command,
        arguments,
        env=env,
        timeout_s=timeout_s,
        stdin=stdin,
        name=job_name,
        labels=labels,
        connecting=Connecting(settings),
    )
    async with caught_signals() as signals:
        # Scope K0.start.
        with trio.CancelScope() as scope:
            signals.react = partial(hurry, attempt, signals, scope)
            async with attempt.connected(await endpoint_for(settings)):
                pass
        # Inside of caught_signals, so that a signal that comes now does not lose the handle.
        if attempt.job is not None:
            await _tell_started(settings, attempt.job, quiet=quiet)
        if signals.count:
            report_line(interrupted_text(attempt), signals.exit_code)
    return signals.exit_code


async def _tell_started(settings: Settings, job: pb.Job, *, quiet: bool) -> None:
    if settings.json:
        say_json(job)
    elif quiet:
        say(harmless(job.handle))
    else:
        say(f"Success! PID: {harmless(job.handle)}")
    await drain()
    if (failure := current().out.failure) is not None:
        complain(f"Job {harmless(job.handle)} was started; {failure}")
