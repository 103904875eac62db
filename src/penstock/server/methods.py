"""CommandService's methods: what a client must be granted, and how large a request may be (pure).

All of it is judged before a message is parsed: who asks, then the verb, then the size, then the
number of fields.
"""

from dataclasses import dataclass
from typing import Final

from ..rpc.limits import KIB, MessageLimits

SERVICE: Final = "teleport.CommandService"


@dataclass(frozen=True, slots=True)
class Method:
    """``verb``: one of policy.VERBS; None is granted to every client of the policy.

    ``costly`` calls are milliseconds of the event loop, whatever becomes of them, so each client
    has a number of them a second (rate_limits.py). ``message``: None is what the transport's limits
    say.
    """

    verb: str | None
    costly: bool = False
    message: MessageLimits | None = None


# A command line and its environment are at most 128 KiB together, and a policy grants at most 512
# arguments: these are far beyond, and still cost no more than some milliseconds.
_START: Final = MessageLimits(
    message_bytes=256 * KIB,
    fields=256,
    elements=(
        (("argv", "arguments"), 8192),
        (("argv", "arguments.name", "arguments.value"), 8192),
        (("env",), 1024),
        (("env.key", "env.value"), 2048),
    ),
    one_a_turn=True,
)
# One piece of input, requests.MAX_INPUT_BYTES, and the fields beside it.
_SEND: Final = MessageLimits(message_bytes=80 * KIB, fields=64)
_LIST: Final = MessageLimits(message_bytes=16 * KIB, fields=256)

METHODS: Final = {
    "Start": Method("start", costly=True, message=_START),
    "Stop": Method("stop"),
    "Status": Method("status"),
    "StreamOutput": Method("stream"),
    "List": Method("list", message=_LIST),
    "Wait": Method("wait"),
    "Signal": Method("signal"),
    "Pause": Method("pause"),
    "Resume": Method("resume"),
    "SendInput": Method("send", message=_SEND),
    "Remove": Method("remove"),
    "ServerInfo": Method(None),
}

MESSAGE_LIMITS: Final = {
    f"{SERVICE}/{name}": method.message
    for name, method in METHODS.items()
    if method.message is not None
}
