"""What a server counts, as its operator's interfaces read it."""

from dataclasses import dataclass, field

from .lag import Lag


@dataclass(frozen=True, slots=True)
class Statistics:
    """``refused`` counts by kind what was not served; ``ended`` counts connections by reason.

    ``lingering`` connections are refused ones whose peers may still read the reason. ``lag`` is
    that of the event loop, for which every client waits, while ``serve`` runs.
    """

    connections: int
    handshakes: int
    lingering: int
    running_calls: int
    refused: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    lag: Lag = field(default_factory=Lag)
