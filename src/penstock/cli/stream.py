"""stream, wait: the verbs that follow a job to its end."""

import asyncclick as click
import trio

from ..client.client import Client
from ..client.follow import DigestMismatch, Follower, Part
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError, StatusCode
from ..text import job_text
from .arguments import OUR_FAILURE
from .connecting import Connecting, asked, endpoint_for
from .descriptors import OutputFailed
from .ending_signals import HUNG_UP
from .error_report import report_error, report_line
from .exits import COMMAND_NOT_FOUND, EXPECTED, complete_code, job_code, may_go_on, message
from .exits import exit_code as code_of
from .failures import Exit, Failed, fail
from .flags import Settings
from .job_names import handle_of, instead_of, on_job
from .printing import say_json
from .reconnect import SaidNews, say_waits_on
from .several import Several, Verb
from .signal_handling import caught_signals, detaches, hangs_up
from .sink import Apart, Lines, Sink
from .standard import complain, say
from .terminal import harmless


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
    quiet: bool,
    no_timestamps: bool,
    exit_code: bool,
    allow_gaps: bool,
    reconnect: float,
) -> int:
    """Returns the exit status: the job's own with --exit-code, otherwise the stream's.

    Cancellation: minimum cleanup; C21, C22.
    """
    part = _part(offset, tail, since, only_out, only_err, follow=not no_follow)
    failure = OUR_FAILURE if exit_code else Exit.FAILURE
    bare = raw or settings.json or quiet
    if not bare:
        # On standard output only for all of the output from its first byte: what a part of it is
        # piped into is to read that part alone.
        tell = say if part == Part() else complain
        tell(f"Starting output stream for {harmless(pid)}...")
        tell("================")
    form = Apart(raw=True) if raw else Lines(timestamps=not no_timestamps)
    sink = Sink(
        None if settings.json else form,
        offset=part.offset,
        narrate="nothing" if bare else "all" if part == Part() else "ends",
    )
    handle = pid

    def go_on() -> str:
        return _go_on(handle, sink, part)

    async def follow() -> None:
        follower = Follower(
            await endpoint_for(settings),
            handle,
            part,
            give_up_s=reconnect,
            news=SaidNews(reconnect),
            connecting=Connecting(settings),
            connect_timeout_s=settings.connect_timeout_s,
        )
        await follower.deliver(sink.take)

    async with caught_signals() as signals:
        # Scope K0.stream.
        with trio.CancelScope() as scope:
            # Cancels K0.stream.
            signals.react = scope.cancel
            try:
                handle = await handle_of(settings, pid, reads=True)
                try:
                    await follow()
                except RpcError as error:
                    if error.code is not StatusCode.NOT_FOUND or sink.begun:
                        raise
                    handle = await instead_of(settings, pid, error, reads=True)
                    await follow()
                await sink.finish()
            except OutputFailed as error:
                if error.reader_left and not exit_code:
                    return 0  # as behind ``| head``, whose user knows that it cuts
                code = HUNG_UP if error.hung_up and hangs_up() else failure
                fail(f"Error: {error}; {go_on()}\nExit {code}", code)
            except EXPECTED as error:
                code = OUR_FAILURE if exit_code else code_of(error)
                broken = isinstance(error, DigestMismatch)
                useful = sink.next > sink.first and may_go_on(error) and not broken
                text = f"{message(error)}; {go_on()}" if useful else message(error)
                fail(f"Error: {text}\nExit {code}", code)
    if sink.end is not None:
        code = job_code(sink.end) if exit_code else 0
        return complete_code(code, sink.missing, failure, allow_gaps=allow_gaps)
    if scope.cancelled_caught:
        report_line(f"Detached; {go_on()}", signals.exit_code)
        return signals.exit_code
    if not exit_code:
        return complete_code(0, sink.missing, failure, allow_gaps=allow_gaps)
    # --no-follow, so there is no exit status to pass through.
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
) -> Part:
    """The part of the output that the options ask for. Raises UsageError if they exclude each
    other."""
    begins = {"--offset": offset, "--tail": tail, "--since": since}
    given = [name for name, value in begins.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} exclude each other: give one of them")

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


def _go_on(handle: str, sink: Sink, part: Part) -> str:

    names = {pb.STREAM_STDOUT: " --stdout", pb.STREAM_STDERR: " --stderr"}
    only = "".join(names[stream] for stream in part.streams)

    return f"go on with: penstock stream {harmless(handle)}{only} --offset {sink.next}"


@detaches("each job goes on; wait again with: penstock wait {pids}")
async def wait(settings: Settings, pids: tuple[str, ...], reconnect: float) -> int:
    """Prints how each job ended; returns the first exit status that is not 0, in their order."""

    async def call(client: Client, word: str) -> pb.Job:
        return await on_job(client, word, client.wait, reads=True)

    def report(job: pb.Job) -> int:
        if settings.json:
            say_json(job)
        else:
            for line in (job_text.sentence(job), *job_text.end_notes(job.end)):
                say(harmless(line))
        return job_code(job.end)

    def fails(word: str, error: BaseException) -> int:
        code = COMMAND_NOT_FOUND if code_of(error) == Exit.NOT_FOUND else OUR_FAILURE
        report_error(message(error), code, error, pid=word)
        return code

    several = Several(pids, Verb(call, lambda number, word: None, report, fails))
    await asked(settings, several.ask, give_up_s=reconnect, on_lost=say_waits_on(reconnect))
    return several.code
