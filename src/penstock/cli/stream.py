"""stream, wait: following a job to its end."""

from functools import partial
from typing import TYPE_CHECKING, Final

import asyncclick as click

from .arguments import (
    ALLOW_GAPS,
    MAX_OFFSET,
    OUR_FAILURE,
    RECONNECT,
    SINCE,
    TEXT,
    PassThrough,
    PassThroughIfAsked,
    detaches,
)
from .connection_settings import Settings
from .printing import say_json
from .standard import OutputFailed, complain, say

if TYPE_CHECKING:
    from ..client.follow import Part
    from .sink import Sink


@click.command(cls=PassThroughIfAsked)
@click.argument("pid", type=TEXT)
@click.option("--raw", is_flag=True, help="Exact bytes, stdout and stderr apart, nothing else.")
@click.option("--offset", type=click.IntRange(0, MAX_OFFSET), help="First byte wanted.")
@click.option(
    "--tail",
    type=click.IntRange(0, MAX_OFFSET),
    metavar="N",
    help="Begin with the last N lines; 0: what is new.",
)
@click.option("--since", type=SINCE, metavar="TIME", help="Begin there: 5m, 2026-11-23T11:21:38Z.")
@click.option("--stdout", "only_out", is_flag=True, help="The job's standard output alone.")
@click.option("--stderr", "only_err", is_flag=True, help="The job's standard error alone.")
@click.option("--no-follow", is_flag=True, help="End at what is there now.")
@click.option("--no-timestamps", is_flag=True, help="Lines alone.")
@click.option("--exit-code", is_flag=True, help="Exit as the job did.")
@click.option("--allow-gaps", **ALLOW_GAPS)
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
    allow_gaps: bool,
    reconnect: float,
) -> int:
    """Prints job PID's output from the first byte, then live, until the job has ended."""
    import trio

    from ..client.follow import DigestMismatch, Follower
    from .connecting import Connecting
    from .ending_signals import HUNG_UP, hangs_up
    from .exits import EXPECTED, Exit, Failed, complete_code, fail, job_code, message
    from .exits import exit_code as code_of
    from .reconnect import SaidNews
    from .signal_handling import caught_signals
    from .sink import Apart, Lines, Sink
    from .terminal import harmless

    part = _part(offset, tail, since, only_out, only_err, follow=not no_follow)
    plain = not raw and not settings.json
    failure = OUR_FAILURE if exit_code else Exit.FAILURE
    if plain:
        say(f"Starting output stream for {harmless(pid)}...")
        say("================")
    form = Apart(raw=True) if raw else Lines(timestamps=not no_timestamps)
    sink = Sink(
        None if settings.json else form, offset=part.offset, narrate="all" if plain else "nothing"
    )
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
                code = HUNG_UP if error.hung_up and hangs_up() else failure
                fail(f"Error: {error}; {go_on()}\nExit {code}", code)
            except EXPECTED as error:
                code = OUR_FAILURE if exit_code else code_of(error)
                useful = sink.next > sink.first and not isinstance(error, DigestMismatch)
                text = f"{message(error)}; {go_on()}" if useful else message(error)
                fail(f"Error: {text}\nExit {code}", code)
    if sink.end is not None:
        code = job_code(sink.end) if exit_code else 0
        return complete_code(code, sink.missing, failure, allow_gaps=allow_gaps)
    if scope.cancelled_caught:
        complain(f"Detached; {go_on()}")
        return signals.exit_code
    if not exit_code:
        return complete_code(0, sink.missing, failure, allow_gaps=allow_gaps)
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
    from ..client.follow import Part
    from ..proto import command_pb2 as pb

    return Part(
        offset=offset or 0,
        tail_lines=tail,
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
    from .terminal import harmless

    return f"go on with: penstock stream {harmless(handle)}{only} --offset {sink.next}"


@click.command(cls=PassThrough)
@click.argument("pid", type=TEXT)
@click.option("--reconnect", **RECONNECT)
@click.pass_obj
@detaches("job {pid} goes on; wait again with: penstock wait {pid}")
async def wait(settings: Settings, pid: str, reconnect: float) -> int:
    """Waits until job PID has ended, and exits as it did."""
    from ..client.repeated_calls import wait_for_job
    from ..rpc.call_errors import RpcError
    from ..text import job_text
    from .connecting import Connecting
    from .exits import COMMAND_NOT_FOUND, Exit, exit_code, fail, job_code, message
    from .reconnect import say_waits_on
    from .terminal import harmless

    try:
        job = await wait_for_job(
            settings.endpoint(),
            pid,
            give_up_s=reconnect,
            connecting=Connecting(settings),
            on_lost=say_waits_on(reconnect),
        )
    except RpcError as error:
        if exit_code(error) != Exit.NOT_FOUND:
            raise
        fail(f"Error: {message(error)}", COMMAND_NOT_FOUND)
    if settings.json:
        say_json(job)
    else:
        for line in (job_text.sentence(job), *job_text.end_notes(job.end)):
            say(harmless(line))
    return job_code(job.end)


COMMANDS: Final = {"stream": stream, "wait": wait}
