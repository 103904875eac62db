"""kill: signal with the habits of kill(1) and docker: the signal is an option, TERM without."""

from collections.abc import Awaitable, Callable

from ..client.client import Client
from ..client.retry import was_lost
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError
from .connecting import asked
from .error_report import report_error
from .exits import exit_code, message
from .flags import Settings
from .job_names import on_job
from .printing import say_json
from .signal_handling import detaches
from .standard import say
from .terminal import harmless


@detaches("which of them were sent {signal} is not known; look with: penstock list")
async def kill(settings: Settings, pids: tuple[str, ...], signal: str, tree: bool) -> int:
    """Prints for each job how many processes the signal was sent to; returns the exit status of the
    first to which it could not be."""
    code = 0
    left = list(pids)

    def send_to(client: Client) -> Callable[[str], Awaitable[int]]:
        return lambda handle: client.signal(handle, signal, tree=tree)

    async def send(client: Client) -> None:
        nonlocal code
        while left:
            pid = left[0]
            try:
                count = await on_job(client, pid, send_to(client), reads=False)
            except RpcError as error:
                if was_lost(error):
                    raise
                report_error(message(error), exit_code(error), error, pid=pid)
                code = code or exit_code(error)
            else:
                say_sent(settings, pid, signal, count)
            del left[0]

    await asked(settings, send, repeatable=False)  # a repeated call would send it twice
    return code


def say_sent(settings: Settings, pid: str, signal: str, count: int) -> None:
    """How many processes of a job a signal was sent to."""
    if settings.json:
        say_json(pb.SignalResponse(processes=count))
        return
    processes = "1 process" if count == 1 else f"{count} processes"
    say(harmless(f"Sent {signal} to {processes} of job {pid}."))
