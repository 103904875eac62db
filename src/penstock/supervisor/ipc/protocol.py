"""How the messages of server and supervisor travel: one JSON object a datagram (pure).

The transport is SOCK_SEQPACKET; descriptors travel beside a message by SCM_RIGHTS
and are named, in order, by its ``fds`` list. docs/protocol.md has the fields.
"""

import json
from collections.abc import Mapping
from typing import Final, NoReturn

from .message_base import Kinds, Message
from .message_record import form_of, read_record, write_record

VERSION: Final = 1

# A unix datagram holds about 212,000 bytes with the kernel's default buffers
# (net.core.wmem_default). A command line is at most decision.MAX_COMMAND_LINE_BYTES of it; the rest
# is room for the envelope.
MAX_MESSAGE_BYTES: Final = 200_000
# SCM_MAX_FD in include/net/scm.h.
MAX_DESCRIPTORS: Final = 253

# With which status a server exits that cannot use the files which WELCOME names: EX_CONFIG of
# sysexits.h, which neither Python nor a signal has.
FILES_REFUSED: Final = 78

# Why a START was refused: whose fault it is.
DENIED: Final = "denied"  # the policy does not grant this command line
STALE_POLICY: Final = "stale_policy"  # the two sides read different policies: retry
EXECUTABLE: Final = "executable"  # gone, replaced, or not executable
UNENFORCED: Final = "unenforced"  # a required limit is not held by this kernel
INVALID: Final = "invalid"  # NUL, too long
EXHAUSTED: Final = "exhausted"  # no more jobs fit
FAILED: Final = "failed"  # the machine refused at some stage
STOPPING: Final = "stopping"  # this stage: penstockd is ending, and the next one may be asked


class ProtocolError(Exception):
    """The peer sent what this protocol does not have; the connection ends."""


def encode(message: Message) -> bytes:
    """The datagram of one. Raises ProtocolError if it would not fit."""
    return encode_fields(message.kind, write_record(message))


def decode(data: bytes, allowed: Kinds) -> Message:
    """The message in a datagram; one of ``allowed``, each field as its form has it.

    Raises ProtocolError.
    """
    kind, message = decode_fields(data, allowed)
    return read_record(allowed[kind], message)


def encode_fields(kind: str, about: Mapping[str, object]) -> bytes:
    """As ``encode``, for a message by its kind and fields, without a check of their form."""
    data = json.dumps({"type": kind, **about}, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )
    if len(data) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a {kind} message of {len(data)} bytes exceeds {MAX_MESSAGE_BYTES}")
    return data


def decode_fields(data: bytes, allowed: Kinds) -> tuple[str, dict[str, object]]:
    """Type and other fields of the message in a datagram, which have its form.

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
    kind = message.pop("type", None)
    if not isinstance(kind, str) or kind not in allowed:
        raise ProtocolError(f"unknown message {kind!r:.64}")
    mistake = form_of(allowed[kind]).mistake(message)
    if mistake is not None:
        raise ProtocolError(f"{kind}: {mistake}")
    return kind, message


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):  # which of them counts would depend on the reader
        raise ProtocolError("a field stands twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ProtocolError(f"{name} is no number of JSON's")
