"""stream, run, wait: following a job to its end."""

from functools import partial
from typing import TYPE_CHECKING, Final

import asyncclick as click

from .arguments import (
    MAX_OFFSET,
    OUR_FAILURE,
    PASS_ON,
    TEXT,
    PassThrough,
    PassThroughIfAsked,
)
from .printing import say_json
from .settings import Settings
from .standard import OutputFailed, complain, say

if TYPE_CHECKING:
    import trio

    from ..client import Client
    from .signals import Signals
    from .sink import Sink
    from .starting import Start


@click.command(cls=PassThroughIfAsked)
@click.argument("pid", type=TEXT)
@click.option("--raw", is_flag=True, help="Exact bytes, stdout and stderr apart, nothing else.")
@click.option("--offset", type=click.IntRange(0, MAX_OFFSET), default=0, help="First byte wanted.")
@click.option("--no-follow", is_flag=True, help="End at what is there now.")
@click.option("--no-timestamps", is_flag=True, help="Lines alone.")
@click.option("--exit-code", is_flag=True, help="Exit as the job did.")
@click.pass_obj
async def stream(
    settings: Settings,
    pid: str,
    raw: bool,
    offset: int,
    no_follow: bool,
    no_timestamps: bool,
    exit_code: bool,
) -> int:
    """Prints job PID's output from the first byte, then live, until the job has ended."""
    import trio

    from ..client import connect
    from .exits import EXPECTED, Failed, fail, job_code, message
    from .exits import exit_code as code_of
    from .signals import caught_signals
    from .sink import Apart, Lines, Sink

    plain = not raw and not settings.json
    if plain:
        say(f"Starting output stream for {pid}...")
        say("================")
    form = Apart(raw=True) if raw else Lines(timestamps=not no_timestamps)
    sink = Sink(None if settings.json else form, offset=offset, narrate=plain)
    go_on = partial(_go_on, pid, sink)

    async with caught_signals() as signals:
        with trio.CancelScope() as scope:
            signals.react = scope.cancel
            try:
                async with connect(settings.endpoint()) as client:
                    await _follow(client, pid, sink, follow=not no_follow)
            except OutputFailed as error:
                if error.reader_left and not exit_code:
                    return 0  # as behind ``| head``: who cuts the output knows that it is cut
                code = OUR_FAILURE if exit_code else 1
                fail(f"Error: {error}; {go_on()}\nExit {code}", code)
            except EXPECTED as error:
                code = OUR_FAILURE if exit_code else code_of(error)
                text = f"{message(error)}; {go_on()}" if sink.next > offset else message(error)
                fail(f"Error: {text}\nExit {code}", code)
    if sink.end is not None:
        return job_code(sink.end) if exit_code else 0
    if scope.cancelled_caught:
        complain(f"\nDetached; {go_on()}")
        return signals.exit_code
    if no_follow and not exit_code:
        return 0
    code = OUR_FAILURE if exit_code else 1
    raise Failed(f"Error: the stream ended before the job did; {go_on()}\nExit {code}", code)


@click.command(context_settings=PASS_ON, cls=PassThrough)
@click.option("--raw", is_flag=True, help="Exact bytes on a terminal, too.")
@click.argument("command", type=TEXT)
@click.argument("arguments", nargs=-1, type=TEXT)
@click.pass_obj
async def run(settings: Settings, raw: bool, command: str, arguments: tuple[str, ...]) -> int:
    """Starts COMMAND, prints what it prints, and exits as it does.

    The first ^C or SIGTERM asks the job to stop, a second one detaches.
    """
    import trio

    from .exits import EXPECTED, Failed, fail, job_code, message, start_code
    from .signals import beside, caught_signals
    from .sink import Apart, Sink
    from .starting import Start

    attempt = Start(command, arguments)
    sink = Sink(None if settings.json else Apart(raw=raw))
    async with caught_signals() as signals:
        with trio.CancelScope() as scope:
            asked = trio.Event()
            signals.react = partial(_stop_or_leave, attempt, signals, scope, asked)
            try:
                async with attempt.connected(settings.endpoint()) as client:
                    assert attempt.job is not None
                    # An interrupt before the answer has set one; it is for the answer alone.
                    scope.deadline = float("inf")
                    handle = attempt.job.handle
                    async with beside(_stop_when_asked, client, handle, asked):
                        await _follow(client, handle, sink, follow=True)
            except EXPECTED as error:
                if attempt.job is None:
                    fail(f"Error: {message(error)}", start_code(error))
                detached = _detached(attempt.job.handle, sink)
                fail(f"Error: {message(error)}\n{detached}", OUR_FAILURE)
    if sink.end is not None:
        return job_code(sink.end)
    if attempt.job is None:
        complain(attempt.interrupted_text())
        return signals.exit_code
    complain(_detached(attempt.job.handle, sink))
    if scope.cancelled_caught:
        return signals.exit_code
    raise Failed("Error: the stream ended before the job did", OUR_FAILURE)


def _stop_or_leave(
    attempt: "Start", signals: "Signals", scope: "trio.CancelScope", asked: "trio.Event"
) -> None:
    attempt.hurry(signals, scope)
    if signals.count == 1:
        asked.set()
    elif attempt.job is not None:
        scope.cancel()


async def _stop_when_asked(client: "Client", handle: str, asked: "trio.Event") -> None:
    await asked.wait()
    from .exits import EXPECTED, message
    from .terminal import harmless

    shown = harmless(handle)
    complain(f"\nStopping {shown}; ^C again to detach")
    try:
        await client.stop(handle, reason="interrupted")
    except EXPECTED as error:
        complain(f"Error: {shown} could not be stopped. {message(error)}")


def _detached(handle: str, sink: "Sink") -> str:
    from .terminal import harmless

    return f"Detached from job {harmless(handle)}; {_go_on(harmless(handle), sink)}"


def _go_on(handle: str, sink: "Sink") -> str:
    return f"go on with: penstock stream {handle} --offset {sink.next}"


@click.command(cls=PassThrough)
@click.argument("pid", type=TEXT)
@click.pass_obj
async def wait(settings: Settings, pid: str) -> int:
    """Waits until job PID has ended, and exits as it did."""
    from .. import render
    from ..client import connect
    from ..rpc.errors import RpcError
    from .exits import COMMAND_NOT_FOUND, Exit, exit_code, fail, job_code, message
    from .terminal import harmless

    try:
        async with connect(settings.endpoint()) as client:
            job = await client.wait(pid)
    except RpcError as error:
        if exit_code(error) != Exit.NOT_FOUND:
            raise
        fail(f"Error: {message(error)}", COMMAND_NOT_FOUND)
    if settings.json:
        say_json(job)
    else:
        say(harmless(render.sentence(job)))
    return job_code(job.end)


async def _follow(client: "Client", pid: str, sink: "Sink", *, follow: bool) -> None:
    """Until the stream's end. Raises RpcError, OutputFailed; not for what comes after the
    end record, with which everything is there."""
    from ..rpc.errors import RpcError

    try:
        async with client.stream(pid, offset=sink.next, follow=follow, raw=True) as messages:
            async for message in messages:
                await sink.take(message)
    except RpcError:
        if sink.end is None:
            raise
    await sink.finish()


COMMANDS: Final = {"stream": stream, "run": run, "wait": wait}
