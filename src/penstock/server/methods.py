"""CommandService's methods, one row each: what a call of it begins with (pure).

A row is what every call of that method goes through before anything is done for it. Access
(access.py) works rows off, so a new method is a row and a handler that says what is its own.
"""

from dataclasses import dataclass
from typing import Final, Literal

from ..rpc.limits import KIB, MessageLimits

SERVICE: Final = "teleport.CommandService"


@dataclass(frozen=True, slots=True)
class Method:
    """``verb``: one of policy.VERBS; None is granted to every client of the policy.

    ``job``: the request names one by ``pid``, which must be the caller's own. ``quota``: what the
    call takes of (rate_limits.py). Access takes a ``signal`` as soon as the job is known; the
    handler takes the others, because a ``stream`` is given back and a ``start`` may only validate.

    ``grant``: when the audit has a line of a granted call. ``before``: without it the server does
    not act. ``each``: every call has one, but is served without it, so that a full disk keeps no
    client from stopping a job. ``counted``: the first has a line and further ones are a count,
    because they change nothing. ``none``: no line, because there is nothing to record.

    ``costly`` calls take milliseconds of the event loop even if they are refused, so each client
    may make a number of them a second. ``message``: None is what the transport's limits say.
    """

    verb: str | None
    grant: Literal["before", "each", "counted", "none"]
    job: bool = True
    quota: Literal["start", "signal", "stream"] | None = None
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
# One piece of input, parse.MAX_INPUT_BYTES, and the fields beside it.
_SEND: Final = MessageLimits(message_bytes=80 * KIB, fields=64)
_WATCH: Final = MessageLimits(message_bytes=16 * KIB, fields=256)
_LIST: Final = MessageLimits(message_bytes=16 * KIB, fields=256)

METHODS: Final = {
    "Start": Method("start", "before", job=False, quota="start", costly=True, message=_START),
    "Stop": Method("stop", "each"),
    "Status": Method("status", "counted"),
    "StreamOutput": Method("stream", "counted", quota="stream"),
    "List": Method("list", "counted", job=False, message=_LIST),
    "Wait": Method("wait", "counted"),
    "Signal": Method("signal", "each", quota="signal"),
    "Pause": Method("pause", "each", quota="signal"),
    "Resume": Method("resume", "each", quota="signal"),
    "SendInput": Method("send", "counted", quota="stream", message=_SEND),
    "Remove": Method("remove", "each"),
    "Watch": Method("watch", "counted", job=False, quota="stream", message=_WATCH),
    "ServerInfo": Method(None, "none", job=False),
    "WhoAmI": Method(None, "none", job=False),
}

MESSAGE_LIMITS: Final = {
    f"{SERVICE}/{name}": method.message
    for name, method in METHODS.items()
    if method.message is not None
}
