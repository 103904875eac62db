"""stop, signal, pause, resume, status, rm: one call, one answer."""

from ..client.client import Client
from ..client.repeated_calls import stop_job
from ..client.retry import was_lost
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError, StatusCode
from ..text.job_text import limit_notes, sentence, stop_notes
from .connecting import Connecting, asked
from .connection_settings import endpoint_of
from .exits import EXPECTED, exit_code, message
from .failures import fail
from .flags import Settings
from .printing import say_json
from .signal_handling import detaches
from .standard import complain, say
from .terminal import harmless


@detaches("a stop that the server has heard of goes on; look with: penstock status {pid}")
async def stop(
    settings: Settings, pid: str, grace: float | None, reason: str, signal: str, no_wait: bool
) -> None:
    """Prints the result of the stop, and whether it took KILL or how long."""
    if not settings.json:
        say(f"Stopping {harmless(pid)}...")
    try:
        answer = await stop_job(
            endpoint_of(settings),
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


@detaches("whether {signal} was sent is not known; look with: penstock status {pid}")
async def signal(settings: Settings, pid: str, signal: str, tree: bool) -> None:
    """Prints how many processes the signal was sent to."""

    async def send(client: Client) -> int:
        return await client.signal(pid, signal, tree=tree)

    count = await asked(settings, send, repeatable=False)  # a repeated call would send it twice
    if settings.json:
        say_json(pb.SignalResponse(processes=count))
    else:
        processes = "1 process" if count == 1 else f"{count} processes"
        say(harmless(f"Sent {signal} to {processes} of job {pid}."))


@detaches("whether job {pid} is paused is not known; look with: penstock status {pid}")
async def pause(settings: Settings, pid: str) -> None:
    """Says what the job does now."""
    # Not repeatable, because it could undo what another user has asked for meanwhile.
    job = await asked(settings, lambda client: client.pause(pid), repeatable=False)
    _say_state(settings, job)


@detaches("whether job {pid} runs on is not known; look with: penstock status {pid}")
async def resume(settings: Settings, pid: str) -> None:
    """Says what the job does now."""
    # Not repeatable, because it could undo what another user has asked for meanwhile.
    job = await asked(settings, lambda client: client.resume(pid), repeatable=False)
    _say_state(settings, job)


def _say_state(settings: Settings, job: pb.Job) -> None:

    if settings.json:
        say_json(job)
    else:
        say(harmless(sentence(job)))


@detaches("nothing was changed; ask again with: penstock status {pid}")
async def status(settings: Settings, pid: str) -> None:
    """Prints the job's state, what it uses, and which of its limits were changed from outside."""
    if not settings.json:
        say(f"Querying the status of {harmless(pid)}...")
    answer = await asked(settings, lambda client: client.status(pid))
    if settings.json:
        say_json(answer)
    else:
        for text in (answer.status, *limit_notes(answer.job)):
            say(harmless(text))


@detaches("which of them are removed is not known; look with: penstock list -a")
async def rm(settings: Settings, pids: tuple[str, ...]) -> int:
    """Prints each removed job; returns the exit status of the first that could not be."""
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

    # Not repeatable, because a removed job whose answer was lost would be reported as unknown.
    await asked(settings, remove, repeatable=False)
    return code
