"""stream, run, wait: following a job to its end."""

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import asyncclick as click

from .control import say, say_json
from .settings import Settings

if TYPE_CHECKING:
    from ..client import Client
    from ..proto import command_pb2 as pb

STDOUT: Final = 1  # pb.STREAM_STDOUT, whose module is not imported for --help
_PASS_ON: Final = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command()
@click.argument("pid")
@click.option("--raw", is_flag=True, help="Exact bytes, stdout and stderr apart, nothing else.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="First byte wanted.")
@click.option("--no-follow", is_flag=True, help="End at what is there now.")
@click.option("--no-timestamps", is_flag=True, help="Lines alone.")
@click.option("--exit-code", is_flag=True, help="Exit as the job did.")
@click.pass_obj
async def stream(settings: Settings, pid: str, **options: Any) -> int:
    """Prints job PID's output from the first byte, then live, until the job has ended."""
    from ..client import connect
    from .exits import EXPECTED, exit_code, fail, job_code, message

    if not options["raw"] and not settings.json:
        say(f"Starting output stream for {pid}...")
        say("================")
    sink = _Sink(settings, options)
    interrupted = False
    try:
        try:
            async with connect(settings.endpoint()) as client:
                await _follow(client, pid, sink, options["offset"], not options["no_follow"])
        except* KeyboardInterrupt:  # a nursery may have wrapped it
            interrupted = True
    except BrokenPipeError:  # whoever read our output has gone
        raise
    except EXPECTED as error:
        sys.stdout.flush()
        code = exit_code(error)
        fail(f"Error: {message(error)}\nExit {code}", code)
    if interrupted:
        sys.stderr.write(f"\nDetached; go on with: penstock stream {pid} --offset {sink.next}\n")
        return 130
    if sink.end is None:
        if options["no_follow"]:
            return 0
        fail("Error: the stream ended before the job did\nExit 1", 1)
    return job_code(sink.end) if options["exit_code"] else 0


@click.command(context_settings=_PASS_ON)
@click.argument("command")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
async def run(settings: Settings, command: str, arguments: tuple[str, ...]) -> int:
    """Starts COMMAND, prints what it prints, and exits as it does.

    The first ^C asks the job to stop, a second one detaches.
    """
    import trio

    from ..client import connect
    from .exits import EXPECTED, OUR_FAILURE, fail, job_code, message, start_code

    endpoint = settings.endpoint()
    try:
        async with connect(endpoint) as client:
            try:
                job = await client.start(command, arguments)
            except EXPECTED as error:
                fail(f"Error: {message(error)}", start_code(error))
            sink = _Sink(settings, {"raw": True})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_stop_on_interrupt, client, job.handle, nursery.cancel_scope)
                await _follow(client, job.handle, sink, 0, True)
                nursery.cancel_scope.cancel()
    except BrokenPipeError:
        raise
    except EXPECTED as error:
        fail(f"Error: {message(error)}", OUR_FAILURE)
    if sink.end is None:
        sys.stderr.write(
            f"\nDetached from job {job.handle}; go on with: "
            f"penstock stream {job.handle} --offset {sink.next}\n"
        )
        return 130
    return job_code(sink.end)


async def _stop_on_interrupt(client: "Client", handle: str, scope: Any) -> None:
    import signal

    import trio

    asked = trio.Event()

    async def ask() -> None:
        await asked.wait()
        from .exits import EXPECTED

        with contextlib.suppress(*EXPECTED):
            await client.stop(handle, reason="interrupted")

    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            async for _ in signals:
                if asked.is_set():
                    scope.cancel()  # of which this task is a part: it ends at the next wait
                    continue
                sys.stderr.write(f"\nStopping {handle}; ^C again to detach\n")
                asked.set()


@click.command()
@click.argument("pid")
@click.pass_obj
async def wait(settings: Settings, pid: str) -> int:
    """Waits until job PID has ended, and exits as it did."""
    from .. import render
    from ..client import connect
    from .exits import EXPECTED, OUR_FAILURE, exit_code, fail, job_code, message
    from .terminal import harmless

    try:
        async with connect(settings.endpoint()) as client:
            job = await client.wait(pid)
    except EXPECTED as error:
        code = OUR_FAILURE if exit_code(error) != 4 else 127
        fail(f"Error: {message(error)}", code)
    if settings.json:
        say_json(job)
    else:
        say(harmless(render.sentence(job)))
    return job_code(job.end)


async def _follow(client: "Client", pid: str, sink: "_Sink", offset: int, follow: bool) -> None:
    async with client.stream(pid, offset=offset, follow=follow, raw=True) as messages:
        async for message in messages:
            sink.take(message)
    sink.finish()


class _Sink:
    """Where a stream's messages go. ``next`` is the offset to go on from."""

    def __init__(self, settings: Settings, options: dict[str, Any]) -> None:
        from .printing import LinePrinter

        self.next = options.get("offset", 0)
        self.end: pb.EndRecord | None = None
        self._settings = settings
        self._raw = bool(options["raw"])
        terminal = sys.stdout.isatty()
        # Raw bytes are asked for with --raw only: run on a terminal shows them harmless.
        self._exact = self._raw and ("offset" in options or not terminal)
        self._printer = LinePrinter(
            timestamps=not (self._raw or options.get("no_timestamps", False)), escape=terminal
        )
        self._time_ns = 0

    def take(self, message: "pb.StreamOutputResponse") -> None:
        """One message of the stream."""
        if message.data:
            self.next = message.offset + len(message.data)
            self._time_ns = message.time_ns
        if message.HasField("finished"):
            self.end = message.finished
        if self._settings.json:
            say_json(message)
        elif message.HasField("job"):
            self._first(message.job)
        elif message.HasField("gap"):
            self._gap(message.gap)
        elif message.data and self._exact:
            _write(2 if message.stream == 2 else 1, message.data)
        elif message.data:
            sys.stdout.write(self._printer.feed(message.stream, message.time_ns, message.data))
            sys.stdout.flush()
        elif message.HasField("finished") and not self._raw:
            self._ended(message.finished)

    def finish(self) -> None:
        """The stream is over: what was held back of cut characters."""
        if not self._settings.json:
            sys.stdout.write(self._printer.flush(self._time_ns))
            sys.stdout.flush()

    def _first(self, job: "pb.Job") -> None:
        if not self._raw and self.next == 0:
            data = f"{job.command} started\n".encode()
            sys.stdout.write(self._printer.feed(STDOUT, job.started_ns, data))
            sys.stdout.flush()

    def _gap(self, gap: "pb.Gap") -> None:
        from .terminal import harmless

        text = harmless(f"[bytes {gap.from_offset} to {gap.to_offset}: {gap.reason}]")
        sys.stderr.write(f"{text}\n")

    def _ended(self, end: "pb.EndRecord") -> None:
        from .. import render
        from .terminal import harmless

        self.finish()
        sys.stderr.write(f"The job {harmless(render.end_text(end))}\n")


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


COMMANDS: Final = {"stream": stream, "run": run, "wait": wait}
