"""ServerInfo: what this server is, what its host has, and as which client it knows the caller."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from .. import __version__
from ..policy.limit_classes import Enforcement
from ..proto import command_pb2 as pb
from ..rpc.lag import Lag
from .access import Access, HandlerRequest
from .convert import enforcement_message, totals_message

FEATURES: Final = (
    "argv",
    "request_id",
    "env",
    "timeout",
    "validate_only",
    "raw_stream",
    "wait",
    "stream_from",  # tail_lines, since_ns, streams, heartbeat_s
    "remove",
    "signal",
    "stop_options",  # no_wait, signal, took_s
    "stdin",
    "names",  # name and labels of a start
    "list_filters",  # states, command, name, labels, label_keys, since_ns, prefix
    "watch",
    "pause",  # only with cgroups
    "whoami",
)


@dataclass(frozen=True, slots=True)
class HostInfo:
    """What ServerInfo reports of the machine, as the supervisor found it."""

    mode: str
    kind: str
    limits: tuple[Enforcement, ...]
    warnings: tuple[str, ...]
    userless: Mapping[str, str] = field(default_factory=dict)
    """Clients whose starts are refused for want of a user, and why."""


class InfoCalls:
    """ServerInfo, a part of CommandService."""

    def __init__(self, access: Access, host: HostInfo, lag: Callable[[], Lag]) -> None:
        """``lag`` is called for each ServerInfo."""
        self.lag = lag
        self._access = access
        self.host = host

    async def ServerInfo(
        self, input_message: pb.ServerInfoRequest, request: HandlerRequest
    ) -> pb.ServerInfoResponse:
        """Atomic: reads only. Every client of the policy may ask.

        No checkpoint.

        Cancellation: atomic.
        """
        call = self._access.begin("ServerInfo", request, input_message)
        return pb.ServerInfoResponse(
            version=__version__,
            mode=self.host.mode,
            cgroups=self.host.kind,
            limits=[enforcement_message(entry) for entry in self.host.limits],
            features=[each for each in FEATURES if each != "pause" or self.host.kind != "tree"],
            warnings=self.host.warnings,
            client_id=call.client.id,
            client_limits=totals_message(call.client.totals.limits),
            lag=_lag_message(self.lag()),
        )


def _lag_message(lag: Lag) -> pb.EventLoopLag:
    """How long calls have waited for the event loop."""
    return pb.EventLoopLag(
        worst_s=lag.worst_s,
        recent_worst_s=lag.recent_s,
        worst_cpu_s=lag.worst_cpu_s,
        slow_turns=lag.slow,
        turns=lag.turns,
        busy_s=lag.busy_s,
    )
