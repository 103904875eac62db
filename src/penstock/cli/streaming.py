"""stream, wait: following a job to its end."""

from functools import partial
from typing import TYPE_CHECKING, Final

import asyncclick as click

from .arguments import (
    MAX_OFFSET,
    OUR_FAILURE,
    RECONNECT,
    SINCE,
    TEXT,
    PassThrough,
    PassThroughIfAsked,
)
from .printing import say_json
from .settings import Settings
from .standard import OutputFailed, complain, say

if TYPE_CHECKING:
    from ..follow import Part
    from .sink import Sink


@click.command(cls=PassThroughIfAsked)
@click.argument("pid", type=TEXT)
@click.option("--raw", is_flag=True, help="Exact bytes, stdout and stderr apart, nothing else.")
@click.option("--offset", type=click.IntRange(0, MAX_OFFSET), help="First byte wanted.")
@click.option(
    "--tail", type=click.IntRange(1, MAX_OFFSET), metavar="N", help="Begin with the last N lines."
)
@click.option("--since", type=SINCE, metavar="TIME", help="Begin there: 5m, 2026-11-23T11:21:38Z.")
@click.option("--stdout", "only_out", is_flag=True, help="The job's standard output alone.")
@click.option("--stderr", "only_err", is_flag=True, help="The job's standard error alone.")
@click.option("--no-follow", is_flag=True, help="End at what is there now.")
@click.option("--no-timestamps", is_flag=True, help="Lines alone.")
@click.option("--exit-code", is_flag=True, help="Exit as the job did.")
@click.option("--reconnect", **RECONNECT)
@click.pass_obj
async def stream(
    settings: Settings,
    pid: str,
    raw: bool,
    offset: int | None,
    tail: int | None,
    since: int | None,
    only_out: bool,
    only_err: bool,
    no_follow: bool,
    no_timestamps: bool,
    exit_code: bool,
    reconnect: float,
) -> int:
    """Prints job PID's output from the first byte, then live, until the job has ended."""
    import trio

    from ..follow import DigestMismatch, Follower
    from .connecting import Connecting
    from .exits import EXPECTED, Failed, fail, job_code, message
    from .exits import exit_code as code_of
    from .going_on import SaidNews
    from .signals import caught_signals
    from .sink import Apart, Lines, Sink

    part = _part(offset, tail, since, only_out, only_err, follow=not no_follow)
    plain = not raw and not settings.json
    if plain:
        say(f"Starting output stream for {pid}...")
        say("================")
    form = Apart(raw=True) if raw else Lines(timestamps=not no_timestamps)
    sink = Sink(None if settings.json else form, offset=part.offset, narrate=plain)
    go_on = partial(_go_on, pid, sink, part)

    async with caught_signals() as signals:
        # Scope K0.stream.
        with trio.CancelScope() as scope:
            # Cancels K0.stream.
            signals.react = scope.cancel
            try:
                follower = Follower(
                    settings.endpoint(),
                    pid,
                    part,
                    give_up_s=reconnect,
                    news=SaidNews(reconnect),
                    connecting=Connecting(settings),
                    connect_timeout_s=settings.connect_timeout_s,
                )
                await follower.deliver(sink.take)
                await sink.finish()
            except OutputFailed as error:
                if error.reader_left and not exit_code:
                    return 0  # as behind ``| head``: who cuts the output knows that it is cut
                code = OUR_FAILURE if exit_code else 1
                fail(f"Error: {error}; {go_on()}\nExit {code}", code)
            except EXPECTED as error:
                code = OUR_FAILURE if exit_code else code_of(error)
                useful = sink.next > sink.first and not isinstance(error, DigestMismatch)
                text = f"{message(error)}; {go_on()}" if useful else message(error)
                fail(f"Error: {text}\nExit {code}", code)
    if sink.end is not None:
        return job_code(sink.end) if exit_code else 0
    if scope.cancelled_caught:
        complain(f"\nDetached; {go_on()}")
        return signals.exit_code
    if not exit_code:
        return 0
    # --no-follow: there is no exit status to pass through.
    raise Failed(
        f"Error: the stream ended before the job did; {go_on()}\nExit {OUR_FAILURE}", OUR_FAILURE
    )


def _part(
    offset: int | None,
    tail: int | None,
    since: int | None,
    only_out: bool,
    only_err: bool,
    *,
    follow: bool,
) -> "Part":
    """Raises UsageError for what excludes each other."""
    begins = {"--offset": offset, "--tail": tail, "--since": since}
    given = [name for name, value in begins.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other: give one of them")
    from ..follow import Part
    from ..proto import command_pb2 as pb

    return Part(
        offset=offset or 0,
        tail_lines=tail or 0,
        since_ns=since or 0,
        streams=(
            *((pb.STREAM_STDOUT,) if only_out else ()),
            *((pb.STREAM_STDERR,) if only_err else ()),
        ),
        follow=follow,
    )


def _go_on(handle: str, sink: "Sink", part: "Part") -> str:
    from ..proto import command_pb2 as pb

    names = {pb.STREAM_STDOUT: " --stdout", pb.STREAM_STDERR: " --stderr"}
    only = "".join(names[stream] for stream in part.streams)
    return f"go on with: penstock stream {handle}{only} --offset {sink.next}"


@click.command(cls=PassThrough)
@click.argument("pid", type=TEXT)
@click.option("--reconnect", **RECONNECT)
@click.pass_obj
async def wait(settings: Settings, pid: str, reconnect: float) -> int:
    """Waits until job PID has ended, and exits as it did."""
    from .. import render
    from ..rpc.errors import RpcError
    from .connecting import asked
    from .exits import COMMAND_NOT_FOUND, Exit, exit_code, fail, job_code, message
    from .going_on import say_waits_on
    from .terminal import harmless

    try:
        job = await asked(
            settings,
            lambda client: client.wait(pid),
            give_up_s=reconnect,
            on_lost=say_waits_on(reconnect),
        )
    except RpcError as error:
        if exit_code(error) != Exit.NOT_FOUND:
            raise
        fail(f"Error: {message(error)}", COMMAND_NOT_FOUND)
    if settings.json:
        say_json(job)
    else:
        say(harmless(render.sentence(job)))
    return job_code(job.end)


COMMANDS: Final = {"stream": stream, "wait": wait}
