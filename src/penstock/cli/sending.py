"""send: our standard input as a job's."""

import os
from typing import Final

import asyncclick as click

from .arguments import RECONNECT, TEXT
from .connection_settings import Settings
from .standard import say

_PIECE_BYTES: Final = 64 * 1024


@click.command()
@click.argument("pid", type=TEXT)
@click.option("--keep-open", is_flag=True, help="The job's input does not end with ours.")
@click.option("--reconnect", **RECONNECT)
@click.pass_obj
async def send(settings: Settings, pid: str, keep_open: bool, reconnect: float) -> None:
    """Sends our standard input to job PID, which was started with --stdin, and its end.

    It begins after what the job was sent before. Answers when all of it is accepted.
    """
    from ..client.send_input import InputSender
    from .connecting import Connecting
    from .printing import say_json
    from .signal_handling import detaching
    from .terminal import harmless

    check_input()
    feeder = InputSender(
        settings.endpoint(),
        pid,
        give_up_s=reconnect,
        connecting=Connecting(settings),
        connect_timeout_s=settings.connect_timeout_s,
    )

    def go_on() -> str:
        shown = harmless(pid)
        return (
            f"job {shown} goes on, and has accepted at least {feeder.accepted} bytes in all; send "
            f"the rest with: penstock send {shown}"
        )

    async with detaching(go_on):
        await feeder.feed(read_input, end=not keep_open)
    if settings.json:
        from ..proto import command_pb2 as pb

        say_json(pb.SendInputResponse(accepted=feeder.accepted, eof=not keep_open))
    else:
        end = "" if keep_open else ", and its end"
        say(f"Job {harmless(pid)} was sent {feeder.accepted} bytes in all{end}.")


async def read_input() -> bytes:
    """What comes next on our standard input; b"" at its end. Raises OSError.

    Cancelled: a thread may be left that waits for it, and takes what comes.

    Cancellation: minimum cleanup; C19.
    """
    import trio

    # Of its own: a terminal at which nobody types must not take a thread from looking up names.
    own = trio.CapacityLimiter(1)
    return await trio.to_thread.run_sync(_read, _PIECE_BYTES, abandon_on_cancel=True, limiter=own)


def check_input() -> None:
    """Before anything is asked for. Raises OSError: it is closed, or nothing that can be read."""
    _read(0)


def _read(count: int) -> bytes:
    try:
        return os.read(0, count)
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard input") from error


COMMANDS: Final = {"send": send}
