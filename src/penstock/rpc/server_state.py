"""What the connections of one server share, and those of one client among them."""

from collections.abc import Callable
from dataclasses import dataclass

from .internal_errors import OnInternalError
from .limits import Limits
from .message_stream import HeldData
from .rejections import Rejections
from .served_methods import Methods
from .server_call import Admit
from .turns import FairTurns


@dataclass(frozen=True, slots=True)
class Shared:
    """What all connections of one server have in common."""

    methods: Methods
    limits: Limits
    on_internal_error: OnInternalError
    accepts_calls: Callable[[], bool]
    refusals: Rejections
    held: HeldData
    turns: FairTurns
    """Turns for floods of frames: one slice of one connection's in a turn of the scheduler."""
    message_turns: FairTurns
    """Turns for messages that take milliseconds to parse: one slice of one message in a turn."""
    admit: Admit


@dataclass(slots=True, eq=False)
class ClientLoad:
    """What one client has open over all its connections, which take its turns together."""

    held: HeldData
    connections: int = 0
    calls: int = 0
