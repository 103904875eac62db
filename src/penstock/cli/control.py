"""stop, signal, pause, resume, status, rm: one call for each job, one answer."""

from collections.abc import Awaitable
from functools import partial

from ..client.client import Client
from ..client.retry import was_lost
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError, StatusCode
from ..text.job_text import limit_notes, sentence, stop_notes
from .connecting import asked
from .error_report import report_error
from .exits import EXPECTED, exit_code, message
from .flags import Settings
from .job_names import on_job
from .killing import say_sent
from .printing import say_json
from .several import Several, Verb, say_error
from .signal_handling import detaches
from .standard import say
from .status_watch import watch_status
from .terminal import harmless


@detaches("a stop that the server has heard of goes on; look with: penstock status {pids}")
async def stop(
    settings: Settings,
    pids: tuple[str, ...],
    grace: float | None,
    reason: str,
    signal: str,
    no_wait: bool,
) -> int:
    """Prints the result of each stop, and whether it took KILL or how long; returns the exit status
    of the first that failed."""

    async def call(client: Client, word: str) -> pb.StopResponse:
        def stopped(handle: str) -> Awaitable[pb.StopResponse]:
            return client.stop(handle, grace_s=grace, reason=reason, signal=signal, no_wait=no_wait)

        return await on_job(client, word, stopped, reads=False)

    def report(answer: pb.StopResponse) -> int:
        if settings.json:
            say_json(answer)
            return 0
        say(harmless(answer.result))
        if not no_wait and not answer.already_finished:
            for note in stop_notes(answer.job.end, answer.took_s):
                say(harmless(note))
        return 0

    def fails(word: str, error: BaseException) -> int:
        code = int(exit_code(error))
        text = f"{harmless(word)} could not be stopped. {message(error)}"
        report_error(text, code, error, pid=word)
        return code

    begin = partial(_begin, settings, "Stopping")
    several = Several(pids, Verb(call, begin, report, fails))
    try:
        await asked(settings, several.ask)
    except EXPECTED as error:
        several.fail(error)
    return several.code


def _begin(settings: Settings, doing: str, number: int, word: str) -> None:
    """The first line about a job, apart from what was printed about the one before."""
    if not settings.json:
        say(f"{'' if number == 0 else chr(10)}{doing} {harmless(word)}...")


@detaches("whether {signal} was sent is not known; look with: penstock status {pid}")
async def signal(settings: Settings, pid: str, signal: str, tree: bool) -> None:
    """Prints how many processes the signal was sent to."""

    async def send(client: Client) -> int:
        return await on_job(
            client, pid, lambda handle: client.signal(handle, signal, tree=tree), reads=False
        )

    count = await asked(settings, send, repeatable=False)  # a repeated call would send it twice
    say_sent(settings, pid, signal, count)


@detaches("whether job {pid} is paused is not known; look with: penstock status {pid}")
async def pause(settings: Settings, pid: str) -> None:
    """Says what the job does now."""
    # Not repeatable, because it could undo what another user has asked for meanwhile.
    job = await asked(
        settings,
        lambda client: on_job(client, pid, client.pause, reads=False),
        repeatable=False,
    )
    _say_state(settings, job)


@detaches("whether job {pid} runs on is not known; look with: penstock status {pid}")
async def resume(settings: Settings, pid: str) -> None:
    """Says what the job does now."""
    # Not repeatable, because it could undo what another user has asked for meanwhile.
    job = await asked(
        settings,
        lambda client: on_job(client, pid, client.resume, reads=False),
        repeatable=False,
    )
    _say_state(settings, job)


def _say_state(settings: Settings, job: pb.Job) -> None:

    if settings.json:
        say_json(job)
    else:
        say(harmless(sentence(job)))


@detaches("nothing was changed; ask again with: penstock status {pids}")
async def status(settings: Settings, pids: tuple[str, ...], watch: bool, interval: float) -> int:
    """Prints each job's state, what it uses, and which of its limits were changed from outside;
    returns the exit status of the first that is not known."""
    if watch:
        return await watch_status(settings, pids, interval)

    async def call(client: Client, word: str) -> pb.StatusResponse:
        return await on_job(client, word, client.status, reads=True)

    def report(answer: pb.StatusResponse) -> int:
        if settings.json:
            say_json(answer)
            return 0
        for text in (answer.status, *limit_notes(answer.job)):
            say(harmless(text))
        return 0

    begin = partial(_begin, settings, "Querying the status of")
    several = Several(pids, Verb(call, begin, report, say_error))
    await asked(settings, several.ask)
    return several.code


@detaches("which of them are removed is not known; look with: penstock list -a")
async def rm(settings: Settings, pids: tuple[str, ...]) -> int:
    """Prints each removed job; returns the exit status of the first that could not be."""
    code = 0
    # A name that was typed twice is one job, not also the one before it of that name.
    left = list(dict.fromkeys(pids))

    async def remove(client: Client) -> None:
        nonlocal code
        while left:
            pid = left[0]
            try:
                job = await on_job(client, pid, client.remove, reads=False)
            except RpcError as error:
                if was_lost(error):
                    raise
                not_found = error.code is StatusCode.NOT_FOUND
                prefix = "" if not_found else f"{harmless(pid)} could not be removed. "
                failed = int(exit_code(error))
                report_error(f"{prefix}{message(error)}", failed, error, pid=pid)
                code = code or failed
            else:
                if settings.json:
                    say_json(job)
                else:
                    say(f"Removed job {harmless(job.handle)}.")
            del left[0]

    # Not repeatable, because a removed job whose answer was lost would be reported as unknown.
    await asked(settings, remove, repeatable=False)
    return code
