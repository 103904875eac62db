"""Our standard input, forwarded to a job: by ``send``, and beside the output."""

import os
from typing import Final

import trio

from ..client.first_connection import Endpoint
from ..client.send_input import InputSender
from ..concurrency.own_thread import in_own_thread
from ..proto import command_pb2 as pb
from ..rpc.call_errors import RpcError, StatusCode
from .connecting import Connecting, connector, endpoint_for
from .error_report import report_error
from .exits import EXPECTED, exit_code, message
from .flags import Settings
from .invocation import current
from .job_names import handle_of, instead_of
from .printing import say_json
from .signal_handling import detaching
from .standard import say
from .terminal import harmless

_PIECE_BYTES: Final = 64 * 1024


async def send(settings: Settings, pid: str, keep_open: bool, reconnect: float) -> None:
    """Prints how many bytes the job has accepted, even if a signal ends the verb.

    Cancellation: minimum cleanup; C19, C22.
    """
    await check_input()
    handle = pid
    feeder: InputSender | None = None

    def go_on() -> str:
        shown = harmless(handle)
        accepted = feeder.accepted if feeder is not None else 0
        return (
            f"job {shown} goes on, and has accepted at least {accepted} bytes in all; send "
            f"the rest with: penstock send {shown}"
        )

    async with detaching(go_on):
        handle = await handle_of(settings, pid, reads=False)
        feeder = InputSender(
            await endpoint_for(settings),
            handle,
            give_up_s=reconnect,
            connecting=Connecting(settings),
            connect_timeout_s=settings.connect_timeout_s,
        )
        try:
            await feeder.feed(read_input, end=not keep_open)
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
            await instead_of(settings, pid, error, reads=False)
    if settings.json:
        say_json(pb.SendInputResponse(accepted=feeder.accepted, eof=not keep_open))
    else:
        end = "" if keep_open else ", and its end"
        say(f"Job {harmless(handle)} was sent {feeder.accepted} bytes in all{end}.")


async def feed_beside_output(endpoint: Endpoint, handle: str, reconnect_s: float) -> None:
    """Sends our input, to its end or until the job takes no more. Reports a failure instead of
    raising it, because the output continues, and the job may be waiting for more.

    No checkpoint where our own files are refused.

    Cancellation: minimum cleanup; C19.
    """
    try:
        await InputSender(endpoint, handle, give_up_s=reconnect_s, connecting=connector()).feed(
            read_input
        )
    except EXPECTED as error:
        # Silent, as a shell is when a command does not read what is piped into it.
        if not (isinstance(error, RpcError) and error.code is StatusCode.FAILED_PRECONDITION):
            text = f"input of job {harmless(handle)}: {message(error)}"
            report_error(text, exit_code(error), error, pid=handle)


async def read_input() -> bytes:
    """The next bytes of our standard input; b"" at its end. Raises OSError.

    Cancelled: a thread may be left that waits for input, and discards what it reads.

    Cancellation: minimum cleanup; C19.
    """
    if (stdin := current().stdin) is not None:
        return await stdin.receive(_PIECE_BYTES)
    return await in_own_thread(_read, _PIECE_BYTES)


async def check_input() -> None:
    """Checks standard input before the server is asked. Raises OSError if it is closed or cannot
    be read.

    Cancellation: atomic.
    """
    await trio.lowlevel.checkpoint()
    if (stdin := current().stdin) is not None:
        await stdin.check()
    else:
        _read(0)


def _read(count: int) -> bytes:
    try:
        return os.read(0, count)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard input") from error
