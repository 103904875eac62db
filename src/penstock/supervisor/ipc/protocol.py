"""What server and supervisor say to each other: one JSON object a datagram (pure).

The transport is SOCK_SEQPACKET; descriptors travel beside a message by SCM_RIGHTS
and are named, in order, by its ``fds`` list. docs/protocol.md has the fields.
"""

import json
from typing import Any, Final, NoReturn

from .message_forms import FORMS

VERSION: Final = 1

# A unix datagram holds about 212,000 bytes with the kernel's default buffers
# (net.core.wmem_default). A command line is at most decision.MAX_COMMAND_LINE_BYTES of it; the rest
# is room for the envelope.
MAX_MESSAGE_BYTES: Final = 200_000
# SCM_MAX_FD in include/net/scm.h.
MAX_DESCRIPTORS: Final = 253

# From the server.
HELLO: Final = "HELLO"  # version, pid, beats: it says BEAT
SERVING: Final = "SERVING"  # it takes calls: jobs have somebody again
TAKE: Final = "TAKE"  # the next job of the server before
START: Final = "START"  # id, opaque, client, policy, command, arguments, env, timeout_s, ...
SIGNAL: Final = "SIGNAL"  # id, signal, tree: to the job's main process, or to all
PAUSE: Final = "PAUSE"  # id, paused: all of it stands still, or runs on
INSPECT: Final = "INSPECT"  # id: who is left of it, and what for
LOOK: Final = "LOOK"  # id: are its limits still as they were set?
CLOSE_INPUT: Final = "CLOSE_INPUT"  # id: its standard input has ended
KILL: Final = "KILL"  # id: the whole group, until it is empty
RELEASE: Final = "RELEASE"  # id: the end record is durable, forget the job
# From both.
BEAT: Final = "BEAT"  # every silence.BEAT_S: whoever says it stands not still

# From the supervisor.
WELCOME: Final = "WELCOME"  # version, mode, kind, policy, boot_id, ...; fds policy
HELD: Final = "HELD"  # as STARTED, and opaque: a job of the server before
NOTHING: Final = "NOTHING"  # no more of them
STARTED: Final = "STARTED"  # id, pid, start_ticks, started_ns, enforcement, usage, argv; fds
REFUSED: Final = "REFUSED"  # id, fault, stage, errno, message
REPLACED: Final = "REPLACED"  # id, files: to be written down before the START is repeated
EXITED: Final = "EXITED"  # id, status, timed_out, escalated, storage_full: main process reaped
EMPTIED: Final = "EMPTIED"  # id, killed, counters: no process of the job is left
KILLED: Final = "KILLED"  # id, count: KILL was sent to so many processes
SIGNALED: Final = "SIGNALED"  # id, count
PAUSED: Final = "PAUSED"  # id, paused, message
RESUMED: Final = "RESUMED"  # id: it was paused, and runs on so that it can end
INSPECTED: Final = "INSPECTED"  # id, processes
LOOKED: Final = "LOOKED"  # id: CHANGED has told what was not
CHANGED: Final = "CHANGED"  # id, enforcement, client_enforcement, changes: by somebody else

FROM_SERVER: Final = frozenset(
    {
        *(HELLO, SERVING, TAKE, START, SIGNAL, PAUSE, INSPECT, LOOK),
        *(CLOSE_INPUT, KILL, RELEASE, BEAT),
    }
)
FROM_SUPERVISOR: Final = frozenset(
    {
        *(WELCOME, HELD, NOTHING, STARTED, REFUSED, REPLACED, EXITED, EMPTIED),
        *(KILLED, SIGNALED, PAUSED, RESUMED, INSPECTED, LOOKED, CHANGED, BEAT),
    }
)

# Why a START was refused: whose fault it is.
DENIED: Final = "denied"  # the policy does not grant this command line
STALE_POLICY: Final = "stale_policy"  # the two sides read different policies: retry
EXECUTABLE: Final = "executable"  # gone, replaced, or not executable
UNENFORCED: Final = "unenforced"  # a required limit is not held by this kernel
INVALID: Final = "invalid"  # NUL, too long
EXHAUSTED: Final = "exhausted"  # no more jobs fit
FAILED: Final = "failed"  # the machine said no at some stage
STOPPING: Final = "stopping"  # this stage: penstockd is ending, and the next one may be asked


class ProtocolError(Exception):
    """The peer sent what this protocol does not have; the connection ends."""


def encode(kind: str, /, **fields: Any) -> bytes:
    """One message. Raises ProtocolError if it would not fit a datagram."""
    data = json.dumps({"type": kind, **fields}, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
    if len(data) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a {kind} message of {len(data)} bytes exceeds {MAX_MESSAGE_BYTES}")
    return data


def decode(data: bytes, allowed: frozenset[str]) -> dict[str, Any]:
    """The message in a datagram; ``type`` is one of ``allowed``, the other fields have its form.

    Raises ProtocolError.
    """
    try:
        message = json.loads(
            data.decode("utf-8", "surrogatepass"),
            object_pairs_hook=_object,
            parse_constant=_no_number,
        )
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"not a message: {error}") from None
    if not isinstance(message, dict):
        raise ProtocolError("a message is a JSON object")
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in allowed:
        raise ProtocolError(f"unknown message {kind!r:.64}")
    mistake = FORMS[kind].mistake({key: value for key, value in message.items() if key != "type"})
    if mistake is not None:
        raise ProtocolError(f"{kind}: {mistake}")
    return message


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):  # which of them counts would be anybody's guess
        raise ProtocolError("a field stands twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ProtocolError(f"{name} is no number of JSON's")
