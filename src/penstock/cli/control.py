"""start, stop, signal, pause, resume, status, list, rm, version: one call, one answer."""

import json
from functools import partial
from typing import TYPE_CHECKING, Final

import asyncclick as click

from .. import __version__
from .arguments import PASS_ON, TEXT, detaches
from .connection_settings import Settings
from .printing import say_json
from .standard import OUT, complain, say

if TYPE_CHECKING:
    from ..proto import command_pb2 as pb


@click.command(context_settings=PASS_ON)
@click.option("--stdin", is_flag=True, help="Open its standard input, for send.")
@click.argument("command", type=TEXT)
@click.argument("arguments", nargs=-1, type=TEXT)
@click.pass_obj
async def start(settings: Settings, stdin: bool, command: str, arguments: tuple[str, ...]) -> int:
    """Starts COMMAND, with everything behind it as its arguments.

    ^C before the server has answered waits a moment for the answer; a second one does not.
    """
    import trio

    from ..client.repeated_calls import RepeatedStart
    from .connecting import Connecting
    from .interrupted_start import hurry, interrupted_text
    from .signal_handling import caught_signals
    from .terminal import harmless

    if not settings.json:
        behind = f" with {' '.join(arguments)}" if arguments else ""
        say(harmless(f"Starting {command}{behind}..."))
    attempt = RepeatedStart(command, arguments, stdin=stdin, connecting=Connecting(settings))
    async with caught_signals() as signals:
        # Scope K0.start.
        with trio.CancelScope() as scope:
            signals.react = partial(hurry, attempt, signals, scope)
            async with attempt.connected(settings.endpoint()):
                pass
        # Inside of caught_signals: a signal that comes now must not lose the handle either.
        if attempt.job is not None:
            _tell_started(settings, attempt.job)
        if signals.count:
            complain(interrupted_text(attempt))
    return signals.exit_code


def _tell_started(settings: Settings, job: "pb.Job") -> None:
    from .terminal import harmless

    if settings.json:
        say_json(job)
    else:
        say(f"Success! PID: {harmless(job.handle)}")
    if OUT.failure is not None:
        complain(f"Job {harmless(job.handle)} was started; {OUT.failure}")


@click.command()
@click.argument("pid", type=TEXT)
@click.option("--grace", type=float, metavar="SECONDS", help="Between TERM and KILL.")
@click.option("--reason", default="", type=TEXT, help="Kept in the end record.")
@click.option("--signal", default="", type=TEXT, help="The first one; the command's own without.")
@click.option("--no-wait", is_flag=True, help="Leave when the stop is under way.")
@click.pass_obj
@detaches("a stop that the server has heard of goes on; look with: penstock status {pid}")
async def stop(
    settings: Settings, pid: str, grace: float | None, reason: str, signal: str, no_wait: bool
) -> None:
    """Ends job PID with its whole process tree; answers when nothing of it is left."""
    from ..client.repeated_calls import stop_job
    from ..text.job_text import stop_notes
    from .connecting import Connecting
    from .exits import EXPECTED, exit_code, fail, message
    from .terminal import harmless

    if not settings.json:
        say(f"Stopping {harmless(pid)}...")
    try:
        answer = await stop_job(
            settings.endpoint(),
            pid,
            grace_s=grace,
            reason=reason,
            signal=signal,
            no_wait=no_wait,
            connecting=Connecting(settings),
        )
    except EXPECTED as error:
        fail(f"Error: {harmless(pid)} could not be stopped. {message(error)}", exit_code(error))
    if settings.json:
        say_json(answer)
        return
    say(harmless(answer.result))
    if not no_wait and not answer.already_finished:
        for note in stop_notes(answer.job.end, answer.took_s):
            say(harmless(note))


@click.command()
@click.argument("pid", type=TEXT)
@click.argument("signal", type=TEXT)
@click.option("--tree", is_flag=True, help="To every process of the job.")
@click.pass_obj
@detaches("whether {signal} was sent is not known; look with: penstock status {pid}")
async def signal(settings: Settings, pid: str, signal: str, tree: bool) -> None:
    """Sends SIGNAL (TERM, SIGTERM, 15) to job PID's main process."""
    from ..client.client import Client
    from ..proto import command_pb2 as pb
    from .connecting import asked
    from .terminal import harmless

    async def send(client: Client) -> int:
        return await client.signal(pid, signal, tree=tree)

    count = await asked(settings, send, repeatable=False)  # it would come twice
    if settings.json:
        say_json(pb.SignalResponse(processes=count))
    else:
        processes = "1 process" if count == 1 else f"{count} processes"
        say(harmless(f"Sent {signal} to {processes} of job {pid}."))


@click.command()
@click.argument("pid", type=TEXT)
@click.pass_obj
@detaches("whether job {pid} is paused is not known; look with: penstock status {pid}")
async def pause(settings: Settings, pid: str) -> None:
    """Makes every process of job PID stand still; answers when they do."""
    from .connecting import asked

    # Not repeatable: it could undo what somebody else has asked for meanwhile.
    job = await asked(settings, lambda client: client.pause(pid), repeatable=False)
    _say_state(settings, job)


@click.command()
@click.argument("pid", type=TEXT)
@click.pass_obj
@detaches("whether job {pid} runs on is not known; look with: penstock status {pid}")
async def resume(settings: Settings, pid: str) -> None:
    """Lets a paused job PID run on."""
    from .connecting import asked

    # Not repeatable: it could undo what somebody else has asked for meanwhile.
    job = await asked(settings, lambda client: client.resume(pid), repeatable=False)
    _say_state(settings, job)


def _say_state(settings: Settings, job: "pb.Job") -> None:
    from ..text import job_text
    from .terminal import harmless

    if settings.json:
        say_json(job)
    else:
        say(harmless(job_text.sentence(job)))


@click.command()
@click.argument("pid", type=TEXT)
@click.pass_obj
@detaches("nothing was changed; ask again with: penstock status {pid}")
async def status(settings: Settings, pid: str) -> None:
    """Says what job PID is doing and what it uses."""
    from ..text.job_text import limit_notes
    from .connecting import asked
    from .terminal import harmless

    if not settings.json:
        say(f"Querying the status of {harmless(pid)}...")
    answer = await asked(settings, lambda client: client.status(pid))
    if settings.json:
        say_json(answer)
    else:
        for text in (answer.status, *limit_notes(answer.job)):
            say(harmless(text))


@click.command(name="list")
@click.option("-a", "--all", "include_finished", is_flag=True, help="Finished jobs too.")
@click.pass_obj
@detaches("nothing was changed; ask again with: penstock list")
async def list_jobs(settings: Settings, include_finished: bool) -> None:
    """Lists your own jobs, newest first."""
    from .connecting import asked
    from .printing import timestamp
    from .shell_words import shell_line
    from .terminal import harmless

    jobs = await asked(settings, lambda client: client.jobs(include_finished=include_finished))
    if settings.json:
        for job in jobs:
            say_json(job)
        return
    say(f"{'PID':<12} {'CLASS':<10} {'STARTED':<24} {'STATE':<32} COMMAND")
    for job in jobs:
        line = (
            f"{job.handle:<12} {job.class_name or '-':<10} {timestamp(job.started_ns):<24} "
            f"{_state(job):<32} "
        )
        command = shell_line([job.command, *job.argv[1:]])
        say(harmless(line).replace("\n", "\\n") + command)


def _state(job: "pb.Job") -> str:
    from ..text import job_text

    text = job_text.sentence(job).removeprefix(f"Job {job.handle} ").removeprefix("is ")
    return text.removesuffix(".")


@click.command()
@click.argument("pids", metavar="PID...", nargs=-1, required=True, type=TEXT)
@click.pass_obj
@detaches("which of them are removed is not known; look with: penstock list -a")
async def rm(settings: Settings, pids: tuple[str, ...]) -> int:
    """Forgets finished jobs and their output, now instead of after the server's time.

    One that cannot be removed keeps no other from it; the exit status is the first one's.
    """
    from ..client.client import Client
    from ..client.retry import was_lost
    from ..rpc.call_errors import RpcError, StatusCode
    from .connecting import asked
    from .exits import exit_code, message
    from .terminal import harmless

    code = 0
    left = list(pids)

    async def remove(client: Client) -> None:
        nonlocal code
        while left:
            pid = left[0]
            try:
                job = await client.remove(pid)
            except RpcError as error:
                if was_lost(error):
                    raise
                not_found = error.code is StatusCode.NOT_FOUND
                prefix = "" if not_found else f"{pid} could not be removed. "
                complain(f"Error: {prefix}{message(error)}")
                code = code or exit_code(error)
            else:
                if settings.json:
                    say_json(job)
                else:
                    say(f"Removed job {harmless(job.handle)}.")
            del left[0]

    # Not repeatable: one whose answer was lost would be called unknown.
    await asked(settings, remove, repeatable=False)
    return code


@click.command()
@click.pass_obj
@detaches("nothing was changed; ask again with: penstock version")
async def version(settings: Settings) -> None:
    """Says which version this is, and what the server is and can enforce."""
    if not settings.configured():
        say(json.dumps({"client": __version__}) if settings.json else f"penstock {__version__}")
        return
    from .connecting import asked
    from .terminal import harmless

    info = await asked(settings, lambda client: client.server_info())
    if settings.json:
        say_json(info)
        return
    say(f"penstock {__version__}")
    say(f"server {harmless(info.version)}, you are {harmless(info.client_id)}")
    say(harmless(f"mode: {info.mode}, cgroups: {info.cgroups}"))
    for entry in info.limits:
        detail = f" ({entry.detail})" if entry.detail else ""
        say(harmless(f"  {entry.limit:<12} {entry.state}{detail}"))
    if info.HasField("lag"):
        say(_lag_text(info.lag))
    for warning in info.warnings:
        say(f"WARNING: {harmless(warning)}")


def _lag_text(lag: "pb.EventLoopLag") -> str:
    """What a call may have waited for the server's event loop."""
    worst = f"{_milliseconds(lag.worst_s)} since the server has started"
    recent = f"{_milliseconds(lag.recent_worst_s)} within two minutes"
    return f"longest turn of the event loop: {recent}, {worst}; {lag.slow_turns} of 100 ms or more"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"


COMMANDS: Final = {
    "start": start,
    "stop": stop,
    "signal": signal,
    "pause": pause,
    "resume": resume,
    "status": status,
    "list": list_jobs,
    "rm": rm,
    "version": version,
}
