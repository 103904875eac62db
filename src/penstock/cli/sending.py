"""send: our standard input as a job's."""

import os
from typing import Final

import trio

from ..client.send_input import InputSender
from ..proto import command_pb2 as pb
from .connecting import Connecting
from .connection_settings import endpoint_of
from .flags import Settings
from .printing import say_json
from .signal_handling import detaching
from .standard import say
from .terminal import harmless

_PIECE_BYTES: Final = 64 * 1024


async def send(settings: Settings, pid: str, keep_open: bool, reconnect: float) -> None:
    """Says how much was accepted, also where a signal ends it.

    Cancellation: minimum cleanup; C19, C22.
    """
    check_input()
    feeder = InputSender(
        endpoint_of(settings),
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
        say_json(pb.SendInputResponse(accepted=feeder.accepted, eof=not keep_open))
    else:
        end = "" if keep_open else ", and its end"
        say(f"Job {harmless(pid)} was sent {feeder.accepted} bytes in all{end}.")


async def read_input() -> bytes:
    """What comes next on our standard input; b"" at its end. Raises OSError.

    Cancelled: a thread may be left that waits for it, and takes what comes.

    Cancellation: minimum cleanup; C19.
    """
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
