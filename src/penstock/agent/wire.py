"""Messages between a front end and its agent (pure).

Each is a byte that says its kind, the length of the rest in four bytes, and the rest. That, and the
first field of START, is the same in every version: an agent reads what front ends of other versions
send far enough to decline it. The front end has the same kinds by itself, because it imports
nothing; a test compares.

    START     identity, number of words, words, ignored signals, NAME=VALUE ...
    DECLINED  nothing was done: run the full program     ACCEPTED  will be run: exit status, text
    GO        run it; with four descriptors              EXIT      it has ended: exit status
    SIGNAL    number of a signal that has come           TAKEN     it was given to the verb
    READ      so many bytes of standard input; 0: try    DATA      0, bytes or 1, the error's number
    HOLD      write nothing from now on                  HELD      nothing is written any more
    RESUME    write again
    ASK       a question at the terminal                 ANSWER    1, what was typed; 0: nothing was
    CONTROL   instead of START: "status" or "stop"       REPORT    its answer, JSON

ACCEPTED has what the front end ends with, and shows, if the agent ends before EXIT. Until GO
nothing is done, so that a front end which has given up waiting may run the full program instead.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

START, GO, SIGNAL, DATA, HOLD, RESUME, ANSWER, CONTROL = b"SGKDHUAC"
DECLINED, ACCEPTED, TAKEN, READ, HELD, ASK, EXIT, REPORT = b"nakrhqey"

HEAD_BYTES: Final = 5
MOST_BYTES: Final = 4 * 1024 * 1024
"""Of one message: more than Linux lets a program have of arguments and environment by default."""

_LENGTH_BYTES: Final = 4


class WireError(Exception):
    """What came is no message of ours."""


@dataclass(frozen=True)
class Request:
    """What a front end asks for. ``identity`` is compared before anything else counts."""

    identity: bytes
    words: Sequence[bytes] = ()
    ignored: bytes = b""
    """Numbers of signals."""
    environment: Mapping[bytes, bytes] | None = None


def message(kind: int, body: bytes = b"") -> bytes:
    """A whole message."""
    return bytes((kind,)) + len(body).to_bytes(_LENGTH_BYTES, "big") + body


class WireReader:
    """Bytes in the pieces in which they come; messages out."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The messages that are whole now: kind and body. Raises WireError for one that is too
        large, whatever it is."""
        self._received += data
        while len(self._received) >= HEAD_BYTES:
            size = int.from_bytes(self._received[1:HEAD_BYTES], "big")
            if size > MOST_BYTES:
                raise WireError(f"a message of {size} bytes")
            end = HEAD_BYTES + size
            if len(self._received) < end:
                return
            kind, body = self._received[0], bytes(self._received[HEAD_BYTES:end])
            del self._received[:end]
            yield kind, body


def encoded_request(request: Request) -> bytes:
    """The body of START."""
    environment = request.environment or {}
    fields = [request.identity, b"%d" % len(request.words), *request.words, request.ignored]
    fields += [key + b"=" + value for key, value in environment.items()]
    return b"".join(len(each).to_bytes(_LENGTH_BYTES, "big") + each for each in fields)


def identity_of(body: bytes) -> bytes:
    """The first field of a START of any version. Raises WireError."""
    return next(_fields(body), b"")


def decoded_request(body: bytes) -> Request:
    """What a START of this version asks for. Raises WireError."""
    fields = list(_fields(body))
    if len(fields) < 3:
        raise WireError(f"{len(fields)} fields")
    identity, count, *rest = fields
    if not count.isdigit() or len(count) > len(str(MOST_BYTES)):
        raise WireError("no number of words")
    number = int(count)
    if len(rest) < number + 1:
        raise WireError(f"{number} words, of which {len(rest)} came")
    environment = {}
    for each in rest[number + 1 :]:
        key, _, value = each.partition(b"=")
        environment[key] = value
    return Request(identity, rest[:number], rest[number], environment)


def _fields(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        begin = at + _LENGTH_BYTES
        end = begin + int.from_bytes(body[at:begin], "big")
        if begin > len(body) or end > len(body):
            raise WireError("a field is cut")
        yield body[begin:end]
        at = end
