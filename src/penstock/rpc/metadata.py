"""Decodes gRPC's header fields into values and encodes them (pure).

Errors are of two kinds. Fields that HTTP/2 forbids make a stream malformed (``Malformed``, which
the server answers by a reset). Requests that are HTTP but not gRPC get an HTTP status
(``HttpRefused``) or a gRPC one (``Refused``).
"""

import base64
import binascii
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote_to_bytes

from .call_errors import Refused, StatusCode
from .http2.events import Headers

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

CONTENT_TYPE: Final = b"application/grpc"
_NAME: Final = re.compile(rb"[0-9a-z!#$%&'*+.^_`|~-]+")
_METADATA_NAME: Final = re.compile(r"[0-9a-z_.-]+")
_VALUE_FORBIDDEN: Final = re.compile(rb"[\r\n\0]|^[ \t]|[ \t]$")
_METADATA_VALUE: Final = re.compile(r"[ -~]*")
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_CONNECTION_FIELDS: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_REQUEST_PSEUDO: Final = frozenset((b":method", b":scheme", b":path", b":authority"))
_RESPONSE_PSEUDO: Final = frozenset((b":status",))
_RESERVED: Final = frozenset((b"content-type", b"te", b"user-agent"))


class Malformed(Exception):
    """RFC 9113 8.1.1: a stream error of type PROTOCOL_ERROR."""


class HttpRefused(Exception):
    """The request is HTTP but not gRPC; the server answers with the HTTP ``status``."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


class RequestHead(NamedTuple):
    """A gRPC request's headers. ``timeout_s`` None: the client set no deadline."""

    service: str
    method: str
    scheme: str
    authority: str | None
    content_type: str
    encoding: str
    timeout_s: float | None
    user_agent: str | None
    metadata: Metadata


def check_fields(headers: Headers, pseudo: frozenset[bytes]) -> dict[bytes, bytes]:
    """The fields by name, the first of each. Raises Malformed (RFC 9113 8.2 and 8.3)."""
    fields: dict[bytes, bytes] = {}
    regular = False
    for name, value in headers:
        if name[:1] == b":":
            if regular or name not in pseudo or name in fields:
                raise Malformed("pseudo-header fields are unknown, repeated or late")
        else:
            regular = True
            if _NAME.fullmatch(name) is None:
                raise Malformed("a field name has characters that are not allowed")
            if name in _CONNECTION_FIELDS or (name == b"te" and value != b"trailers"):
                raise Malformed("fields of HTTP/1 connections are not allowed")
        if _VALUE_FORBIDDEN.search(value) is not None:
            raise Malformed("a field value has CR, LF, NUL or outer white space")
        fields.setdefault(name, value)
    return fields


def parse_request(headers: Headers) -> RequestHead:
    """A request's headers, checked. Raises Malformed, HttpRefused or Refused, in that order, so
    that the lowest layer that is wrong answers."""
    fields = check_fields(headers, _REQUEST_PSEUDO)
    method, scheme, path = (fields.get(n) for n in (b":method", b":scheme", b":path"))
    if not method or not scheme or not path:
        raise Malformed("a request needs :method, :scheme and :path")
    if method != b"POST":
        raise HttpRefused(405)
    content_type = fields.get(b"content-type", b"")
    if content_type != CONTENT_TYPE and content_type[:17] not in (
        b"application/grpc+",
        b"application/grpc;",
    ):
        raise HttpRefused(415)
    if fields.get(b"te") != b"trailers":
        raise Refused("te", StatusCode.INVALID_ARGUMENT, "the field te must be trailers")
    service, method_name = _split_path(path)
    user_agent = fields.get(b"user-agent")
    authority = fields.get(b":authority")
    return RequestHead(
        service=service,
        method=method_name,
        scheme=_text(scheme),
        authority=None if authority is None else _text(authority),
        content_type=_text(content_type),
        encoding=_text(fields.get(b"grpc-encoding", b"identity")),
        timeout_s=_timeout(fields.get(b"grpc-timeout")),
        user_agent=None if user_agent is None else _text(user_agent),
        metadata=parse_metadata(headers),
    )


def _split_path(path: bytes) -> tuple[str, str]:
    parts = path.split(b"/")
    if len(parts) != 3 or parts[0]:
        raise Refused("path", StatusCode.UNIMPLEMENTED, "the path is not /service/method")
    return _text(parts[1]), _text(parts[2])


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")


def _timeout(value: bytes | None) -> float | None:
    if value is None:
        return None
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise Refused("timeout", StatusCode.INVALID_ARGUMENT, "grpc-timeout is malformed")
    return int(match[1]) * _UNIT_S[match[2]]


def format_timeout(timeout_s: float) -> bytes:
    """At most eight digits, rounded up; the largest unit that keeps a thousandth of precision."""
    if timeout_s <= 0:
        return b"0n"
    if timeout_s >= 99_999_999 * 3600:
        return b"99999999H"
    for unit in (b"u", b"m", b"S", b"M", b"H"):
        count = -int(-timeout_s / _UNIT_S[unit] // 1)
        if count < 10**8:
            return b"%d%s" % (max(1, count), unit)
    return b"99999999H"


def parse_metadata(headers: Headers) -> Metadata:
    """The application's fields: all but HTTP's and gRPC's own. ``-bin`` ones are bytes.

    Raises Refused for a ``-bin`` field that is not base64.
    """
    found: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name[:1] == b":" or name[:5] == b"grpc-" or name in _RESERVED:
            continue
        if name[-4:] == b"-bin":
            # Several values may be joined by commas (gRPC over HTTP/2, Binary-Header).
            found.extend((_text(name), decode_binary(part)) for part in value.split(b","))
        else:
            found.append((_text(name), _text(value)))
    return tuple(found)


def decode_binary(value: bytes) -> bytes:
    """The bytes of a ``-bin`` field: base64, padded or not. Raises Refused for anything else."""
    value = value.strip(b" \t").rstrip(b"=")
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        raise Refused(
            "metadata", StatusCode.INVALID_ARGUMENT, "a -bin field is not base64"
        ) from None


def encode_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Headers:
    """The application's metadata as header fields. Raises ValueError for what cannot be sent."""
    fields: Headers = []
    for name, value in metadata:
        if _METADATA_NAME.fullmatch(name) is None or name.startswith("grpc-"):
            raise ValueError(f"{name!r} is not a name for metadata")
        if name.endswith("-bin"):
            if not isinstance(value, bytes):
                raise ValueError(f"{name} must be bytes")
            fields.append((name.encode(), base64.b64encode(value).rstrip(b"=")))
        elif not isinstance(value, str) or _METADATA_VALUE.fullmatch(value) is None:
            raise ValueError(f"{name} must be printable ASCII")
        else:
            fields.append((name.encode(), value.strip(" ").encode()))
    return fields


def request_headers(
    path: str,
    authority: str,
    timeout_s: float | None,
    metadata: Iterable[tuple[str, str | bytes]],
    user_agent: str,
) -> Headers:
    """The header fields of a client's request. Raises ValueError for what cannot be sent."""
    headers: Headers = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":path", path.encode("ascii")),
        (b":authority", authority.encode("ascii")),
        (b"te", b"trailers"),
        (b"content-type", CONTENT_TYPE),
        (b"user-agent", user_agent.encode("ascii")),
    ]
    if timeout_s is not None and timeout_s != math.inf:
        headers.append((b"grpc-timeout", format_timeout(timeout_s)))
    headers += encode_metadata(metadata)
    return headers


# gRPC's compression: UNIMPLEMENTED for an encoding goes with those that the peer can use instead.
ACCEPT_ENCODING: Final = (b"grpc-accept-encoding", b"identity")
RESPONSE_HEADERS: Final[Headers] = [(b":status", b"200"), (b"content-type", CONTENT_TYPE)]


def percent_encoded(text: str, max_bytes: int) -> bytes:
    """grpc-message: UTF-8, with everything but printable ASCII (and ``%``) escaped."""
    out = bytearray()
    for byte in text.encode("utf-8", "replace"):
        plain = 0x20 <= byte <= 0x7E and byte != 0x25
        piece = bytes((byte,)) if plain else b"%%%02X" % byte
        if len(out) + len(piece) > max_bytes:
            break
        out += piece
    return bytes(out)


def percent_decoded(value: bytes) -> str:
    """The text of grpc-message. Never fails, because bytes that are not UTF-8 are replaced."""
    return unquote_to_bytes(value).decode("utf-8", "replace")


def fields_of(headers: Sequence[tuple[bytes, bytes]], *, response: bool) -> Mapping[bytes, bytes]:
    """A response's or trailers' fields, checked. Raises Malformed."""
    return check_fields(list(headers), _RESPONSE_PSEUDO if response else frozenset())
