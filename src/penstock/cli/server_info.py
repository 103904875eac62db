"""The part of ``version`` about the server: what it is and can enforce."""

from .. import __version__
from ..proto import command_pb2 as pb
from .connecting import asked
from .flags import Settings
from .printing import say_json
from .signal_handling import detaches
from .standard import say
from .terminal import harmless


@detaches("nothing was changed; ask again with: penstock version")
async def say_server_info(settings: Settings) -> None:
    """Asks the server and prints its answer. Raises what ``asked`` raises.

    Cancellation: minimum cleanup.
    """
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


def _lag_text(lag: pb.EventLoopLag) -> str:
    """The server's event loop lag, which is what a call may have waited, as text."""
    worst = f"{_milliseconds(lag.worst_s)} since the server has started"
    recent = f"{_milliseconds(lag.recent_worst_s)} within two minutes"
    return f"longest turn of the event loop: {recent}, {worst}; {lag.slow_turns} of 100 ms or more"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
